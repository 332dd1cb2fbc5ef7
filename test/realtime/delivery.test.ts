import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {eventsOf, numbered, roomOf, sendAll, seqsOf} from '../support/rooms.ts'
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

    it('lets a join that is under way end as a refusal, and never stay in the room', async () => {
      const [ann, bob] = [await signUp(server), await signUp(server)]
      const roomId = await roomOf(ann, bob)
      const sender = await connect(ann)
      await sendAll(sender, roomId, numbered(200))
      for (let round = 0; round < 15; round++) {
        const socket = await connect(onOther(bob), {transports: ['websocket']})
        const [answer] = await Promise.all([
          socket.ask('join_room', roomId, {since: -1}),
          bob.post(`/api/rooms/${roomId}/leave`),
        ])
        if (!answer.ok) expect(answer.code).toBe('NOT_A_MEMBER')
        await eventually(() => socket.received.some(({args}) => (args[0] as {kind?: string}).kind === 'left'))
        socket.received.length = 0
        const {message} = await sender.ask('send_message', {roomId, content: 'among us'})
        expect((await socket.ask('join_room', roomId)).code).toBe('NOT_A_MEMBER')
        expect(seqsOf(socket)).not.toContain(message.seq)
        socket.disconnect()
        await bob.post(`/api/rooms/${roomId}/join`)
      }
    })

    it('lets whoever joins again in again', async () => {
      const [ann, bob] = [await signUp(server), await signUp(server)]
      const roomId = await roomOf(ann, bob)
      const [sender, socket] = [await connect(ann), await connect(onOther(bob))]
      for (let round = 0; round < 10; round++) {
        await bob.post(`/api/rooms/${roomId}/leave`)
        await bob.post(`/api/rooms/${roomId}/join`)
        expect(await socket.ask('join_room', roomId)).toMatchObject({ok: true})
        const {message} = await sender.ask('send_message', {roomId, content: 'hi'})
        await eventually(() => seqsOf(socket).includes(message.seq))
      }
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
