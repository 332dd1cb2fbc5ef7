import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {expectSeqs, numbered, roomOf, sendAll, seqsOf} from '../support/rooms.ts'
import {connect, connectBot, signUp, startServer, type TestServer} from '../support/server.ts'

let server: TestServer
let other: TestServer
beforeAll(async () => {
  server = await startServer({}, {shared: true})
  other = await startServer(server.env, {shared: true})
})
afterAll(async () => {
  await Promise.all([server.stop(), other.stop()])
})
const onOther = <Who extends {url: string}>(who: Who): Who => ({...who, url: other.url})

describe('sendMessageEvent', () => {
  it('answers with the message and its position, and brings it to every socket in the room, the own one too', async () => {
    const ann = await signUp(server, {username: 'Ann'})
    const roomId = await roomOf(ann)
    const [sender, reader] = [await connect(ann), await connect(ann, {transports: ['polling']})]
    await sender.ask('join_room', roomId)
    await reader.ask('join_room', roomId)
    const sent = await sender.ask('send_message', {roomId, content: 'hello', unknown: 'field'})
    expect(sent).toEqual({
      ok: true,
      message: {
        id: expect.any(String),
        roomId,
        userId: ann.id,
        username: 'Ann',
        content: 'hello',
        createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        isBot: false,
        seq: 0,
      },
      position: expect.stringMatching(/^\d+$/),
    })
    for (const socket of [sender, reader]) {
      await expectSeqs(socket, 0, 1)
      expect(socket.messages()).toEqual([sent.message])
    }
  })

  it('wants membership, and no join_room', async () => {
    const [ann, bob] = [await signUp(server), await signUp(server)]
    const roomId = await roomOf(ann)
    const sender = await connect(ann)
    expect(await sender.ask('send_message', {roomId, content: 'hi'})).toMatchObject({ok: true})
    expect(sender.messages()).toEqual([])
    const stranger = await connect(bob)
    expect(await stranger.ask('send_message', {roomId, content: 'hi'})).toMatchObject({ok: false, code: 'NOT_A_MEMBER'})
    expect(await stranger.ask('send_message', {roomId: 'none', content: 'hi'})).toMatchObject({
      ok: false,
      code: 'NOT_FOUND',
    })
    const bot = await connectBot(server)
    expect(await bot.ask('send_message', {roomId, content: 'hi'})).toMatchObject({ok: true, message: {isBot: true}})
  })

  it('brings each message once and in order to every socket, while both nodes write', async () => {
    const [ann, bob] = [await signUp(server), await signUp(server)]
    const roomId = await roomOf(ann, bob)
    const sockets = [
      await connect(ann),
      await connect(onOther(ann), {transports: ['websocket']}),
      await connect(bob, {transports: ['polling']}),
      await connect(onOther(bob)),
    ]
    for (const socket of sockets) await socket.ask('join_room', roomId)
    const answers = await Promise.all(
      sockets.map((socket, index) => sendAll(socket, roomId, numbered(100, `from ${index}`))),
    )
    const sent = answers.flat()
    expect(sent.every(({ok}) => ok)).toBe(true)
    const stored = new Map(sent.map(({message}) => [message.seq, message]))
    expect(stored.size).toBe(400)
    for (const socket of sockets) {
      await expectSeqs(socket, 0, 400)
      expect(socket.messages()).toEqual([...stored].sort(([a], [b]) => a - b).map(([, message]) => message))
    }
    // What one socket sends one after the other stands in that order.
    for (const [index, mine] of answers.entries()) {
      expect(mine.map(({message}) => message.content)).toEqual(numbered(100, `from ${index}`))
      const seqs = mine.map(({message}) => message.seq)
      expect(seqs).toEqual([...seqs].sort((a, b) => a - b))
    }
  })

  describe('with a nonce', () => {
    it('stores one message however often it is sent, on whichever node, and answers with the first', async () => {
      const ann = await signUp(server)
      const roomId = await roomOf(ann)
      const sockets = [await connect(ann), await connect(onOther(ann))]
      await sockets[0]!.ask('join_room', roomId)
      const sends = (content: string) =>
        sockets.flatMap((socket) =>
          Array.from({length: 5}, () => socket.ask('send_message', {roomId, content, nonce: 'n1'})),
        )
      const first = await Promise.all(sends('first'))
      const again = await Promise.all(sends('something else'))
      const {message, position} = first[0]
      for (const answer of [...first, ...again]) expect(answer).toMatchObject({ok: true, message, position})
      expect(message).toMatchObject({content: 'first', seq: 0})
      await sockets[0]!.ask('send_message', {roomId, content: 'next', nonce: 'n2'})
      await expectSeqs(sockets[0]!, 0, 2)
    })

    it('tells senders and rooms apart', async () => {
      const [ann, bob] = [await signUp(server), await signUp(server)]
      const [one, two] = [await roomOf(ann, bob), await roomOf(ann, bob)]
      const [annSocket, bobSocket] = [await connect(ann), await connect(bob)]
      const nonce = 'the same'
      const answers = [
        await annSocket.ask('send_message', {roomId: one, content: 'a', nonce}),
        await bobSocket.ask('send_message', {roomId: one, content: 'b', nonce}),
        await annSocket.ask('send_message', {roomId: two, content: 'c', nonce}),
      ]
      expect(answers.map(({message}) => message.content)).toEqual(['a', 'b', 'c'])
    })

    it('takes 1 to 64 characters', async () => {
      const ann = await signUp(server)
      const roomId = await roomOf(ann)
      const socket = await connect(ann)
      expect((await socket.ask('send_message', {roomId, content: 'a', nonce: 'n'.repeat(64)})).ok).toBe(true)
      expect((await socket.ask('send_message', {roomId, content: 'a', nonce: 'n'.repeat(65)})).code).toBe('INVALID')
    })
  })

  it('limits the messages of a person, and not of a bot', async () => {
    const limited = await startServer({MESSAGES_PER_MINUTE: '3'})
    const ann = await signUp(limited)
    const roomId = await roomOf(ann)
    const [socket, second, bot] = [await connect(ann), await connect(ann), await connectBot(limited)]
    const send = (by: typeof socket) => by.ask('send_message', {roomId, content: 'hi'})
    expect([await send(socket), await send(second), await send(socket)].map(({ok}) => ok)).toEqual([true, true, true])
    expect(await send(second)).toMatchObject({ok: false, code: 'RATE_LIMITED'})
    for (let sent = 0; sent < 5; sent++) expect(await send(bot)).toMatchObject({ok: true})
  })

  it('is seen by a later read on the node that acknowledged it, and on any node that is told the position', async () => {
    const ann = await signUp(server)
    const roomId = await roomOf(ann)
    const socket = await connect(ann)
    for (let round = 0; round < 30; round++) {
      const {message, position} = await socket.ask('send_message', {roomId, content: `${round}`})
      const [here, there] = await Promise.all([
        ann.get(`/api/rooms/${roomId}/messages?limit=1`),
        onOther(ann).request('GET', `${other.url}/api/rooms/${roomId}/messages?limit=1`, undefined, {
          'x-min-position': position,
        }),
      ])
      expect(here.body.messages).toEqual([message])
      expect(there.body.messages).toEqual([message])
    }
  })

  it('is seen by a later read of everybody whom it was shown to on that node, also after the socket is gone', async () => {
    const [ann, bob] = [await signUp(server), await signUp(server)]
    const roomId = await roomOf(ann, bob)
    const sender = await connect(onOther(ann))
    for (let round = 0; round < 10; round++) {
      const reader = await connect(bob, {transports: ['websocket']})
      await reader.ask('join_room', roomId)
      sender.emit('send_message', {roomId, content: `${round}`})
      await eventually(() => seqsOf(reader).length === 1)
      if (round % 2) reader.disconnect()
      const {messages} = (await bob.get(`/api/rooms/${roomId}/messages?limit=1`)).body
      expect(messages[0].content).toBe(`${round}`)
    }
  })
})
