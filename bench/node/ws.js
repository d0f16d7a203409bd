// Rooms on the ws library: node ws.js -addr HOST:PORT
import { WebSocketServer, WebSocket } from "ws";
import { listen, options } from "./address.js";

const rooms = new Map();

const server = new WebSocketServer({ ...options(), perMessageDeflate: false });
listen(server);

server.on("connection", (socket) => {
  let room;
  socket.on("error", () => socket.terminate());
  socket.on("close", () => room?.delete(socket));
  socket.on("message", (data) => {
    const text = data.toString();
    const message = JSON.parse(text);
    switch (message.type) {
      case "join":
        room = rooms.get(message.room) ?? new Set();
        rooms.set(message.room, room.add(socket));
        socket.send(JSON.stringify({ type: "ack", id: message.id }));
        break;
      case "msg":
        for (const member of room ?? []) {
          if (member !== socket && member.readyState === WebSocket.OPEN) member.send(text);
        }
        break;
      case "echo":
        socket.send(JSON.stringify({ type: "ack", id: message.id, content: message.content }));
        break;
    }
  });
});
