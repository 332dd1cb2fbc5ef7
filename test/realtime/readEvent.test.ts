import {Client} from 'pg'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {numbered, range, roomOf, sendAll} from '../support/rooms.ts'
import {
  connect,
  connectBot,
  type Person,
  signUp,
  startServer,
  type TestServer,
  type TestSocket,
  visit,
} from '../support/server.ts'

let server: TestServer
let other: TestServer
beforeAll(async () => {
  server = await startServer({}, {shared: true})
  other = await startServer(server.env, {shared: true})
})
afterAll(async () => {
  await Promise.all([server.stop(), other.stop()])
})

const onOther = (who: Person): Person => ({...who, ...visit(other.url, who.cookies)})

const inDatabase = async <Row>(text: string, values: unknown[] = []): Promise<Row[]> => {
  const client = new Client({connectionString: server.databaseUrl})
  await client.connect()
  try {
    return (await client.query(text, values)).rows
  } finally {
    await client.end()
  }
}

/** What each answer that shows a room says of how far this person has read. */
const readSeqs = async (who: Person, roomId: string): Promise<(number | null)[]> => {
  const listed = (await who.get('/api/rooms')).body.rooms.find(({id}: {id: string}) => id === roomId)
  const shown = (await who.get(`/api/rooms/${roomId}`)).body.room
  const joined = (await (await connect(who)).ask('join_room', roomId)).room
  return [listed.readSeq, shown.readSeq, joined.readSeq]
}

/** Ann and Bob in a room of five messages; the socket is Bob's. */
const fiveMessages = async (): Promise<{ann: Person; bob: Person; socket: TestSocket; roomId: string}> => {
  const [ann, bob] = [await signUp(server), await signUp(server)]
  const roomId = await roomOf(ann, bob)
  await sendAll(await connect(ann), roomId, numbered(5))
  return {ann, bob, socket: await connect(bob), roomId}
}

describe('readEvent', () => {
  it('answers everybody who asks at once, also those whose mark is behind the one that is being written', async () => {
    const {socket, roomId} = await fiveMessages()
    const asked = [4, 4, 3, 4, 0, -1, 4].map((seq) => socket.ask('read', {roomId, seq}))
    for (const answer of await Promise.all(asked)) expect(answer).toEqual({ok: true})
  })

  it('moves readSeq in every answer, on every node, of the one who read only', async () => {
    const {ann, bob, socket, roomId} = await fiveMessages()
    expect(await readSeqs(bob, roomId)).toEqual([-1, -1, -1])
    expect(await socket.ask('read', {roomId, seq: 3})).toEqual({ok: true})
    expect(await readSeqs(bob, roomId)).toEqual([3, 3, 3])
    expect(await readSeqs(onOther(bob), roomId)).toEqual([3, 3, 3])
    // To send is not to read: she has sent all five.
    expect(await readSeqs(ann, roomId)).toEqual([-1, -1, -1])
  })

  it('never moves it back, whichever node is told what', async () => {
    const {bob, socket, roomId} = await fiveMessages()
    const elsewhere = await connect(onOther(bob))
    await socket.ask('read', {roomId, seq: 3})
    for (const one of [socket, elsewhere]) expect(await one.ask('read', {roomId, seq: 1})).toEqual({ok: true})
    expect(await readSeqs(bob, roomId)).toEqual([3, 3, 3])
    await Promise.all([0, 4, 2, -1].map((seq, index) => [socket, elsewhere][index % 2]!.ask('read', {roomId, seq})))
    expect(await readSeqs(onOther(bob), roomId)).toEqual([4, 4, 4])
  })

  it('needs no callback, and is seen at once on its node and soon on the others', async () => {
    const {bob, socket, roomId} = await fiveMessages()
    for (const seq of [0, 1, 2, 3]) socket.emit('read', {roomId, seq})
    // Answered after them, on the same connection.
    await socket.ask('join_room', roomId)
    expect(await readSeqs(bob, roomId)).toEqual([3, 3, 3])
    await eventually(async () => (await onOther(bob).get(`/api/rooms/${roomId}`)).body.room.readSeq === 3)
  })

  it('refuses a seq past the newest, a room that one is not in, and one that does not exist', async () => {
    const {socket, roomId} = await fiveMessages()
    const stranger = await signUp(server)
    const ask = async (socket: TestSocket, mark: unknown) => (await socket.ask('read', mark)).code
    expect(await ask(socket, {roomId, seq: 5})).toBe('SINCE_UNKNOWN')
    expect(await ask(await connect(stranger), {roomId, seq: 1})).toBe('NOT_A_MEMBER')
    expect(await ask(socket, {roomId: 'r-nowhere', seq: 1})).toBe('NOT_FOUND')
    for (const mark of [
      undefined,
      {},
      {roomId},
      {roomId, seq: 0.5},
      {roomId, seq: -2},
      {roomId, seq: '1'},
      {roomId: 'r-\0', seq: 1},
    ])
      expect(await ask(socket, mark)).toBe('INVALID')
    expect(await inDatabase('SELECT FROM state.read_marks WHERE room_id = $1', [roomId])).toEqual([])
  })

  it('knows a message that another node took a moment ago', async () => {
    const {ann, socket, roomId} = await fiveMessages()
    await socket.ask('read', {roomId, seq: 4})
    const {message} = await (await connect(onOther(ann))).ask('send_message', {roomId, content: 'the sixth'})
    expect(await socket.ask('read', {roomId, seq: message.seq})).toEqual({ok: true})
  })

  it('is null in open rooms that one is not in, and where it was for who comes back', async () => {
    const {bob, socket, roomId} = await fiveMessages()
    await socket.ask('read', {roomId, seq: 2})
    await bob.post(`/api/rooms/${roomId}/leave`)
    const {rooms} = (await bob.get('/api/rooms?visibility=open')).body
    expect(rooms.find(({id}: {id: string}) => id === roomId).readSeq).toBeNull()
    expect((await socket.ask('read', {roomId, seq: 3})).code).toBe('NOT_A_MEMBER')
    await bob.post(`/api/rooms/${roomId}/join`)
    expect(await readSeqs(bob, roomId)).toEqual([2, 2, 2])
  })

  it('is for bots, too', async () => {
    const {roomId} = await fiveMessages()
    const bot = await connectBot(server)
    expect(await bot.ask('read', {roomId, seq: 1})).toEqual({ok: true})
    expect((await bot.ask('join_room', roomId)).room.readSeq).toBe(1)
  })

  it('writes a mark a few times a second at most, however often it moves', async () => {
    const {ann, socket, roomId} = await fiveMessages()
    await sendAll(await connect(ann), roomId, numbered(195))
    await inDatabase(`
      CREATE TABLE public.writes (room_id text);
      CREATE FUNCTION public.count_write() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO public.writes VALUES (NEW.room_id); RETURN NULL; END $$;
      CREATE TRIGGER count_write AFTER INSERT OR UPDATE ON state.read_marks
        FOR EACH ROW EXECUTE FUNCTION public.count_write()`)
    const began = performance.now()
    const answers = await Promise.all(range(0, 200).map((seq) => socket.ask('read', {roomId, seq})))
    const windows = Math.ceil((performance.now() - began) / 250)
    for (const answer of answers) expect(answer).toEqual({ok: true})
    const writes = await inDatabase('SELECT FROM public.writes WHERE room_id = $1', [roomId])
    expect(writes.length).toBeLessThanOrEqual(1 + windows)
    expect(await inDatabase('SELECT seq FROM state.read_marks WHERE room_id = $1', [roomId])).toEqual([{seq: 199}])
  })

  it('keeps what waits to be written when the server is stopped', async () => {
    const third = await startServer(server.env)
    const {bob, roomId} = await fiveMessages()
    const socket = await connect({...bob, url: third.url})
    await socket.ask('read', {roomId, seq: 1})
    // Within the window of the one before, so it waits.
    socket.emit('read', {roomId, seq: 4})
    await eventually(
      async () => (await visit(third.url, bob.cookies).get(`/api/rooms/${roomId}`)).body.room.readSeq === 4,
    )
    await third.stop()
    expect(await inDatabase('SELECT seq FROM state.read_marks WHERE room_id = $1', [roomId])).toEqual([{seq: 4}])
  })

  it('leaves nothing of who is erased', async () => {
    const {bob, socket, roomId} = await fiveMessages()
    await socket.ask('read', {roomId, seq: 1})
    socket.emit('read', {roomId, seq: 2})
    expect((await bob.request('DELETE', '/api/me', {password: 'secret one'})).status).toBe(200)
    expect(await inDatabase('SELECT FROM state.read_marks WHERE user_id = $1', [bob.id])).toEqual([])
  })
})
