import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {eventsOf, expectSeqs, numbered, range, roomOf, sendAll, seqsOf} from '../support/rooms.ts'
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

describe('joinRoomEvent', () => {
  it('lets a member in, and says what the room is and how far it counted', async () => {
    const ann = await signUp(server, {username: 'Ann'})
    const roomId = await roomOf(ann)
    const socket = await connect(ann)
    expect(await socket.ask('join_room', roomId)).toMatchObject({
      ok: true,
      seq: -1,
      room: {id: roomId, name: 'A room', visibility: 'open', memberCount: 1, lastSeq: -1, lastMessage: null},
    })
    await sendAll(socket, roomId, numbered(3))
    expect(await (await connect(ann)).ask('join_room', roomId)).toMatchObject({ok: true, seq: 2, room: {lastSeq: 2}})
  })

  it('refuses who is not a member, and a room that is not there', async () => {
    const [ann, bob] = [await signUp(server), await signUp(server)]
    const roomId = await roomOf(ann)
    const socket = await connect(bob)
    expect(await socket.ask('join_room', roomId)).toMatchObject({ok: false, code: 'NOT_A_MEMBER'})
    expect(await socket.ask('join_room', 'no-such-room')).toMatchObject({ok: false, code: 'NOT_FOUND'})
    await (await connect(ann)).ask('send_message', {roomId, content: 'among us'})
    expect(eventsOf(socket, 'message')).toEqual([])
  })

  it('adds bots', async () => {
    const ann = await signUp(server)
    const {body} = await ann.post('/api/rooms', {name: 'By invitation'})
    const bot = await connectBot(server, {botId: 'adder', botName: 'Adder'})
    expect(await bot.ask('join_room', body.room.id)).toMatchObject({ok: true, room: {memberCount: 2}})
    const {members} = (await ann.get(`/api/rooms/${body.room.id}`)).body
    expect(members[1]).toMatchObject({userId: 'bot_adder', username: 'Adder', isBot: true})
    expect(await bot.ask('join_room', 'no-such-room')).toMatchObject({ok: false, code: 'NOT_FOUND'})
  })

  it('lets in on any node whoever joined over HTTP on another, at once', async () => {
    const ann = await signUp(server)
    const roomId = await roomOf(ann)
    for (let round = 0; round < 10; round++) {
      const bob = await signUp(server)
      const [here, there] = [await connect(bob), await connect(onOther(bob))]
      expect((await there.ask('join_room', roomId)).code).toBe('NOT_A_MEMBER')
      await bob.post(`/api/rooms/${roomId}/join`)
      expect(await there.ask('join_room', roomId)).toMatchObject({ok: true})
      expect(await here.ask('join_room', roomId)).toMatchObject({ok: true})
    }
  })

  describe('with since', () => {
    it('delivers what was missed, then answers, then what comes', async () => {
      const ann = await signUp(server)
      const roomId = await roomOf(ann)
      const sender = await connect(ann)
      await sendAll(sender, roomId, numbered(30))
      const socket = await connect(ann)
      let seenBefore: number[] = []
      await new Promise<void>((resolve) => {
        socket.emit('join_room', roomId, {since: 9}, (answer: {ok: boolean; seq: number}) => {
          expect(answer).toMatchObject({ok: true, seq: 29})
          expect(answer).not.toHaveProperty('truncated')
          seenBefore = seqsOf(socket)
          resolve()
        })
      })
      expect(seenBefore).toEqual(range(10, 30))
      await sendAll(sender, roomId, numbered(5))
      await expectSeqs(socket, 10, 35)
    })

    it('begins with the first message at -1, and delivers none at the newest', async () => {
      const ann = await signUp(server)
      const roomId = await roomOf(ann)
      const sender = await connect(ann)
      expect(await sender.ask('join_room', roomId, {since: -1})).toMatchObject({ok: true, seq: -1})
      await sendAll(sender, roomId, numbered(3))
      const [all, none] = [await connect(ann), await connect(ann)]
      await all.ask('join_room', roomId, {since: -1})
      expect(seqsOf(all)).toEqual([0, 1, 2])
      await none.ask('join_room', roomId, {since: 2})
      expect(seqsOf(none)).toEqual([])
    })

    it('loses none and doubles none while others send on both nodes', async () => {
      const ann = await signUp(server)
      const bob = await signUp(server)
      const roomId = await roomOf(ann, bob)
      const senders = [await connect(ann), await connect(onOther(bob))]
      const total = 600
      let joined = 0
      const readers: {since: number; socket: Awaited<ReturnType<typeof connect>>}[] = []
      const sending = senders.map(async (sender, index) => {
        for (let sent = 0; sent < total / 2; sent += 10) {
          await sendAll(sender, roomId, numbered(10, `${index} ${sent}`))
        }
      })
      const joining = async () => {
        while (joined < 16) {
          const who = joined % 2 === 0 ? ann : bob
          const socket = await connect(joined % 4 < 2 ? who : onOther(who), {transports: ['websocket']})
          const newest = (await socket.ask('join_room', roomId, {since: -1})).seq
          const again = await connect(joined % 3 ? who : onOther(who), {transports: ['websocket']})
          const since = Math.max(-1, newest - 25)
          expect((await again.ask('join_room', roomId, {since})).seq).toBeGreaterThanOrEqual(newest)
          readers.push({since: -1, socket}, {since, socket: again})
          joined++
        }
      }
      await Promise.all([...sending, joining()])
      for (const {since, socket} of readers) await expectSeqs(socket, since + 1, total)
    })

    it('replays anew on a socket that is in the room already', async () => {
      const ann = await signUp(server)
      const roomId = await roomOf(ann)
      const socket = await connect(ann)
      await socket.ask('join_room', roomId)
      await sendAll(socket, roomId, numbered(5))
      await expectSeqs(socket, 0, 5)
      socket.received.length = 0
      expect(await socket.ask('join_room', roomId, {since: 1})).toMatchObject({ok: true, seq: 4})
      await sendAll(socket, roomId, numbered(2))
      await expectSeqs(socket, 2, 7)
    })

    it('answers each of several joins at once, and leaves the socket in the room once', async () => {
      const ann = await signUp(server)
      const roomId = await roomOf(ann)
      const socket = await connect(ann)
      await sendAll(socket, roomId, numbered(3))
      const answers = await Promise.all(
        [{}, {since: -1}, {}, {since: 2}].map((options) => socket.ask('join_room', roomId, options)),
      )
      for (const answer of answers) expect(answer).toMatchObject({ok: true, seq: 2})
      socket.received.length = 0
      await sendAll(socket, roomId, numbered(2))
      await expectSeqs(socket, 3, 5)
    })

    it('refuses a seq that the room has not reached', async () => {
      const ann = await signUp(server)
      const roomId = await roomOf(ann)
      const socket = await connect(ann)
      await sendAll(socket, roomId, numbered(2))
      expect(await socket.ask('join_room', roomId, {since: 2})).toMatchObject({ok: false, code: 'SINCE_UNKNOWN'})
      await sendAll(socket, roomId, numbered(1))
      expect(seqsOf(socket)).toEqual([])
      expect(await socket.ask('join_room', roomId, {since: 2})).toMatchObject({ok: true, seq: 2})
    })

    it('changes nothing for a socket in the room by a join that is refused', async () => {
      const [ann, bob] = [await signUp(server), await signUp(server)]
      const roomId = await roomOf(ann, bob)
      const [sender, reader] = [await connect(ann), await connect(bob)]
      await reader.ask('join_room', roomId)
      const sending = sendAll(sender, roomId, numbered(100))
      for (let asked = 0; asked < 10; asked++) {
        const refused = await reader.ask('join_room', roomId, {since: 99_999})
        expect(refused).toMatchObject({ok: false, code: 'SINCE_UNKNOWN'})
      }
      await sending
      await sendAll(sender, roomId, numbered(3))
      await expectSeqs(reader, 0, 103)

      await Promise.all([
        reader.ask('join_room', roomId, {since: 99_999}),
        bob.post(`/api/rooms/${roomId}/leave`),
        reader.ask('join_room', roomId, {since: 99_999}),
      ])
      await sender.ask('join_room', roomId)
      await sendAll(sender, roomId, numbered(3))
      await expectSeqs(sender, 103, 106)
      expect(seqsOf(reader)).toEqual(range(0, 103))
    })

    it('says where more than 1,000 were missed, and goes on live', async () => {
      const ann = await signUp(server)
      const roomId = await roomOf(ann)
      const sender = await connectBot(server)
      await sendAll(sender, roomId, numbered(1_001))
      const [all, cut] = [await connect(ann), await connect(ann)]
      expect(await all.ask('join_room', roomId, {since: 0})).toMatchObject({ok: true, seq: 1_000})
      expect(await cut.ask('join_room', roomId, {since: -1})).toMatchObject({ok: true, seq: 1_000, truncated: true})
      expect(seqsOf(all)).toEqual(range(1, 1_001))
      expect(seqsOf(cut)).toEqual([])
      await sendAll(sender, roomId, numbered(3))
      await expectSeqs(all, 1, 1_004)
      await expectSeqs(cut, 1_001, 1_004)
      const paged = (await ann.get(`/api/rooms/${roomId}/messages?since=-1&limit=200`)).body.messages
      expect(paged.map(({seq}: {seq: number}) => seq)).toEqual(range(0, 200))
    })
  })

  it('lets a socket be in 1,000 rooms and not in one more', async () => {
    const ann = await signUp(server)
    const created = []
    for (let made = 0; made < 1_001; made += 250) {
      const some = Array.from({length: Math.min(250, 1_001 - made)}, () => roomOf(ann))
      created.push(...(await Promise.all(some)))
    }
    const socket = await connect(ann, {transports: ['websocket']})
    const joined = await Promise.all(created.map((roomId) => socket.ask('join_room', roomId)))
    expect(joined.filter(({ok}) => ok)).toHaveLength(1_000)
    expect(joined.find(({ok}) => !ok)).toMatchObject({ok: false, code: 'RATE_LIMITED'})
    expect(await socket.ask('join_room', joined.find(({ok}) => ok).room.id)).toMatchObject({ok: true})
    await ann.post(`/api/rooms/${joined.find(({ok}) => ok).room.id}/leave`)
    const left = created[joined.findIndex(({ok}) => !ok)]
    await eventually(async () => (await socket.ask('join_room', left)).ok)
  })
})
