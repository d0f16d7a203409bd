// Rooms on Socket.IO: node socketio.js -addr HOST:PORT
import { createServer } from "node:http";
import { Server } from "socket.io";
import { listen, options } from "./address.js";

const server = createServer();
listen(server);
const io = new Server(server, {
  transports: ["websocket"],
  perMessageDeflate: false,
  serveClient: false,
});

io.on("connection", (socket) => {
  socket.on("join", (room, done) => {
    socket.join(room);
    done();
  });
  socket.on("msg", (message) => socket.to(message.room).emit("msg", message));
  socket.on("echo", (content, done) => done(content));
});

server.listen(options());
