import type {AddressInfo} from 'node:net'
import {Server} from 'socket.io'
import {afterAll, beforeAll, describe, expect, it, onTestFinished} from 'vitest'
import type {Person} from '../../src/edge/callers.ts'
import type {Tail} from '../../src/log/tail.ts'
import {openDelivery} from '../../src/realtime/delivery.ts'
import {eventually} from '../support/eventually.ts'
import {eventsOf, roomOf, seqsOf} from '../support/rooms.ts'
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

describe('openDelivery', () => {
  describe('after a leave', () => {
    it('brings the leaver nothing that stands after it in the log, on any node, while others send', async () => {
      const [ann, bob] = [await signUp(server), await signUp(server)]
      const roomId = await roomOf(ann, bob)
      const senders = [await connect(ann), await connect(onOther(ann))]
      for (let round = 0; round < 5; round++) {
        const leavers = [await connect(bob), await connect(onOther(bob))]
        for (const leaver of leavers) expect(await leaver.ask('join_room', roomId)).toMatchObject({ok: true})
        let stopped = false
        const answers: {message: {seq: number}; position: string}[] = []
        const sending = senders.map(async (sender) => {
          while (!stopped) answers.push(await sender.ask('send_message', {roomId, content: 'hi'}))
        })
        await eventually(() => leavers.every((leaver) => leaver.messages().length > 3))
        const left = await bob.post(`/api/rooms/${roomId}/leave`)
        const position = BigInt(left.headers.get('x-log-position')!)
        await eventually(() => answers.filter((answer) => BigInt(answer.position) > position).length > 10)
        stopped = true
        await Promise.all(sending)
        // What was sent to it would have arrived before the answer to this.
        for (const leaver of leavers) {
          expect(await leaver.ask('join_room', roomId)).toMatchObject({code: 'NOT_A_MEMBER'})
          expect(await leaver.ask('send_message', {roomId, content: 'hi'})).toMatchObject({code: 'NOT_A_MEMBER'})
        }
        const after = new Set(answers.filter((one) => BigInt(one.position) > position).map(({message}) => message.seq))
        for (const leaver of leavers) {
          expect(seqsOf(leaver).filter((seq) => after.has(seq))).toEqual([])
          leaver.disconnect()
        }
        await bob.post(`/api/rooms/${roomId}/join`)
      }
    })

    it('lets joins that are under way end as refusals, and none of them stay in the room', async () => {
      const [ann, bob] = [await signUp(server), await signUp(server)]
      const roomId = await roomOf(ann, bob)
      const sender = await connect(ann)
      const transports = ['websocket']
      const sockets = await Promise.all(Array.from({length: 45}, () => connect(onOther(bob), {transports})))
      for (let round = 0; round < 5; round++) {
        const joining = sockets.map((socket) => socket.ask('join_room', roomId, round % 2 ? {since: -1} : {}))
        const [answers] = await Promise.all([Promise.all(joining), bob.post(`/api/rooms/${roomId}/leave`)])
        for (const answer of answers) if (!answer.ok) expect(answer.code).toBe('NOT_A_MEMBER')
        await eventually(() => sockets.every((socket) => eventsOf(socket, 'room').length > round * 2))
        const {message} = await sender.ask('send_message', {roomId, content: 'among us'})
        // What was sent to them would have arrived before the answers to these.
        for (const socket of sockets) expect((await socket.ask('join_room', roomId)).code).toBe('NOT_A_MEMBER')
        for (const socket of sockets) expect(seqsOf(socket)).not.toContain(message.seq)
        await bob.post(`/api/rooms/${roomId}/join`)
        await eventually(() => sockets.every((socket) => eventsOf(socket, 'room').length === (round + 1) * 2))
      }
    })

    it('lets whoever joined again in again, also where this node has yet to see the leave before that', async () => {
      const io = new Server(0)
      onTestFinished(() => io.close())
      const {port} = (io.httpServer.address() ?? {}) as AddressInfo
      const client = await connect({url: `http://127.0.0.1:${port}`})
      const socket = await eventually(() => [...io.sockets.sockets.values()][0])
      let tell = (_: object): void => {}
      const tail = {
        position: () => null,
        listen: (listener: typeof tell) => {
          tell = listener
        },
      } as unknown as Tail
      const toUrl = (url: string) => url
      const delivery = openDelivery(io, {
        tail,
        nameOf: async () => '',
        toUrl,
        onDelivered: () => {},
        onTooSlow: () => {},
      })
      const bob = {userId: 'email_bob', isBot: false, identity: null} as unknown as Person
      delivery.connected(socket, bob)
      const data = {roomId: 'r-1', userId: bob.userId, username: 'Bob'}
      const said = {
        roomId: 'r-1',
        messageId: 'm-1',
        senderId: 'bot_ann',
        username: 'Ann',
        content: 'hi',
        isBot: false,
      }
      const sentAt = new Date().toISOString()
      const say = (seq: number) =>
        tell({type: 'MessageSent', position: BigInt(seq), data: {...said, seq, sentAt, nonce: null}})
      const leave = (revision: number) => tell({type: 'UserLeft', revision, position: BigInt(revision), data})

      // Let in as of revision 8: member, left at 6, joined again at 8.
      const joining = delivery.begin(socket, bob.userId, 'r-1', 8)!
      say(0)
      leave(6)
      say(1)
      expect(delivery.finish('r-1', joining, 0, () => {})).toBe(true)
      say(2)
      leave(9)
      say(3)
      // Comes after all that was sent.
      socket.disconnect()
      await eventually(() => !client.connected)
      expect(seqsOf(client)).toEqual([1, 2])
    })
  })

  it('tells the room and all sockets of the person who joined or left, on every node', async () => {
    const [ann, bob] = [await signUp(server), await signUp(server, {username: 'Bob'})]
    const roomId = await roomOf(ann)
    const inRoom = await connect(onOther(ann))
    await inRoom.ask('join_room', roomId)
    const own = [await connect(bob), await connect(onOther(bob))]
    const outside = await connect(ann)
    await bob.post(`/api/rooms/${roomId}/join`)
    await bob.post(`/api/rooms/${roomId}/leave`)
    const expected = ['joined', 'left'].map((kind) => ({roomId, kind, userId: bob.id, username: 'Bob'}))
    for (const socket of [inRoom, ...own]) {
      await eventually(() => eventsOf(socket, 'room').length === 2)
      expect(eventsOf(socket, 'room')).toEqual(expected)
    }
    await outside.ask('join_room', roomId)
    expect(eventsOf(outside, 'room')).toEqual([])
  })

  it('tells a socket once that is both in the room and the own one', async () => {
    const [ann, bob] = [await signUp(server), await signUp(server)]
    const roomId = await roomOf(ann, bob)
    const socket = await connect(bob)
    await socket.ask('join_room', roomId)
    await bob.post(`/api/rooms/${roomId}/leave`)
    await eventually(() => eventsOf(socket, 'room').length > 0)
    await socket.ask('join_room', roomId)
    expect(eventsOf(socket, 'room')).toHaveLength(1)
  })

  it('tells all sockets of the invited person, and nobody else, on every node', async () => {
    const [ann, bob, eve] = [await signUp(server, {username: 'Ann'}), await signUp(server), await signUp(server)]
    const {room} = (await ann.post('/api/rooms', {name: 'By invitation'})).body
    const invited = [await connect(bob), await connect(onOther(bob))]
    const others = [await connect(ann), await connect(eve), await connectBot(server)]
    await others[0]!.ask('join_room', room.id)
    for (const socket of others) socket.received.length = 0
    await ann.post(`/api/rooms/${room.id}/invite`, {userId: bob.email})
    const event = {roomId: room.id, kind: 'invited', roomName: 'By invitation', by: {userId: ann.id, username: 'Ann'}}
    for (const [index, socket] of invited.entries()) {
      await eventually(() => eventsOf(socket, 'room').length === 1)
      expect(eventsOf(socket, 'room')).toEqual([event])
      const who = index === 0 ? bob : onOther(bob)
      const {body} = await who.request('GET', `${who.url}/api/rooms`)
      expect(body.invitations).toMatchObject([{roomId: room.id}])
    }
    for (const socket of others) {
      await socket.ask('nonsense')
      expect(eventsOf(socket, 'room')).toEqual([])
    }
  })

  it('tells bots of each new room, and people not', async () => {
    const ann = await signUp(server)
    const [bot, person] = [await connectBot(other, {botId: 'listener'}), await connect(ann)]
    const {room} = (await ann.post('/api/rooms', {name: 'New', visibility: 'open'})).body
    const event = {roomId: room.id, kind: 'created', roomName: 'New', visibility: 'open', by: {userId: ann.id}}
    await eventually(() => eventsOf(bot, 'room').some((one) => (one as {roomId: string}).roomId === room.id))
    expect(eventsOf(bot, 'room')).toContainEqual(event)
    await person.ask('nonsense')
    expect(eventsOf(person, 'room').filter((one) => (one as {kind: string}).kind === 'created')).toEqual([])
  })

  it('brings each post to everybody, and a later read shows it', async () => {
    const [ann, bob] = [await signUp(server), await signUp(server)]
    const sockets = [await connect(bob), await connect(onOther(bob)), await connectBot(other)]
    const {post} = (await ann.post('/api/posts', {title: 'News', body: 'text'})).body
    for (const socket of sockets) {
      await eventually(() => eventsOf(socket, 'post').length > 0)
      expect(eventsOf(socket, 'post')).toContainEqual(post)
    }
    const {body} = await bob.request('GET', `${other.url}/api/posts`)
    expect(body).toContainEqual(post)
  })
})
