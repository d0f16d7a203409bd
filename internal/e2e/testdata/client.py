"""A conversation with examples/relay, the address in the first argument."""

import asyncio
import json
import sys
import time
import uuid

import websockets

PATIENCE = 10


class Client:
    def __init__(self, ws):
        self.ws = ws

    async def send(self, type, **members):
        await self.ws.send(json.dumps({"type": type, **members}))

    async def next(self):
        """The next message; those about other members are passed over."""
        while True:
            data = await asyncio.wait_for(self.ws.recv(), PATIENCE)
            if isinstance(data, bytes):
                head, data = data.split(b"\n", 1)
                envelope = {**json.loads(head), "bytes": data}
            else:
                envelope = json.loads(data)
            assert abs(envelope["timestamp"] / 1000 - time.time()) < 3600, envelope
            if envelope["type"] not in ("joined", "left", "presence"):
                return envelope

    async def want(self, type, **members):
        envelope = await self.next()
        got = {name: envelope.get(name) for name in members}
        assert envelope["type"] == type and got == members, (envelope, type, members)
        return envelope

    async def want_error(self, code, **members):
        envelope = await self.want("error", **members)
        assert envelope["content"]["code"] == code, (envelope, code)

    async def alive(self):
        await self.send("ping", id="alive", content={"n": 1})
        await self.want("pong", id="alive", content={"n": 1})

    async def join(self, room, members):
        await self.send("join", room=room, id="join")
        ack = await self.want("ack", id="join", room=room)
        assert ack["content"]["members"] == members, ack

    async def want_close(self, code):
        try:
            while True:
                await self.next()
        except websockets.ConnectionClosed:
            assert self.ws.close_code == code, (self.ws.close_code, self.ws.close_reason)


async def connect(url, **options):
    client = Client(await websockets.connect(url, **options))
    welcome = await client.want("welcome")
    client.id = welcome["content"]["id"]
    return client


async def conversation(url):
    room = "python/" + uuid.uuid4().hex
    a = await connect(url, subprotocols=["hubbub.v1"])
    assert a.ws.subprotocol == "hubbub.v1", a.ws.subprotocol
    b = await connect(url)
    assert b.ws.subprotocol is None, b.ws.subprotocol

    await a.join(room, 1)
    await b.join(room, 2)
    await b.join(room, 2)

    for content in ({"body": "hello", "n": [1, 2.5, None]}, "é😀", 0, [], {}):
        await a.send("msg", room=room, content=content)
        await b.want("msg", room=room, content=content, **{"from": a.id})
        await a.send("echo", room=room, content=content, id="e")
        await a.want("ack", id="e", content=content)
    long = "long " * 4000  # worth compressing
    await a.send("msg", room=room, content=long)
    await b.want("msg", content=long)
    await a.alive()

    data = bytes(range(256)) * 8
    await a.ws.send(json.dumps({"type": "msg", "room": room}).encode() + b"\n" + data)
    await b.want("msg", room=room, bytes=data, **{"from": a.id})

    await a.send("no.such", id="1")
    await a.want_error("unknown_type", id="1")
    await a.ws.send("no json")
    await a.want_error("malformed")
    await a.send("msg", room=room + "/other", id="2")
    await a.want_error("not_member", id="2")
    await a.alive()

    pong = await a.ws.ping("now")
    await asyncio.wait_for(pong, PATIENCE)

    await b.send("leave", room=room, id="3")
    await b.want("ack", id="3")
    await a.send("msg", room=room, id="4")
    await a.want("ack", id="4")
    await b.alive()

    await b.ws.close(1000, "done")
    assert b.ws.close_code == 1000, b.ws.close_code
    await a.ws.send("x" * 100_000)
    await a.want_close(1009)


async def refusal(url):
    try:
        await websockets.connect(url, origin="http://evil.example")
    except websockets.InvalidStatusCode as err:
        assert err.status_code == 403, err
    else:
        assert False, "a page of another host may connect"


async def main(url):
    await refusal(url)
    await conversation(url)


asyncio.run(main(sys.argv[1]))
