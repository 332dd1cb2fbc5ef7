import {afterAll, beforeAll, describe, expect, it, onTestFinished} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {eventsOf, range, roomOf} from '../support/rooms.ts'
import {
  BOT_TOKEN,
  connect,
  connectBot,
  type Person,
  signUp,
  startServer,
  type TestServer,
  type TestSocket,
  visit,
} from '../support/server.ts'
import {spawnServer} from '../support/serverProcess.ts'

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

const asBot = (botId: string) => {
  const {post} = visit(server.url)
  return {
    post: (path: string) => post(path, undefined, {authorization: `Bearer ${BOT_TOKEN}`, 'x-bot-id': botId}),
  }
}

/** What the socket was told of this person, in order. */
const told = (socket: TestSocket, {id}: {id: string}): boolean[] =>
  (eventsOf(socket, 'presence') as {userId: string; online: boolean}[])
    .filter(({userId}) => userId === id)
    .map(({online}) => online)

const heard = (socket: TestSocket, who: {id: string}, wanted: boolean[], ms?: number) =>
  eventually(() => told(socket, who).length >= wanted.length, {
    what: `presence ${wanted} of ${who.id}`,
    ...(ms ? {ms} : {}),
  }).then(() => expect(told(socket, who)).toEqual(wanted))

const isOnline = async (asking: Person, roomId: string, who: {id: string}): Promise<boolean> => {
  const {members} = (await asking.get(`/api/rooms/${roomId}`)).body
  return members.find(({userId}: {userId: string}) => userId === who.id).online
}

const joined = async (who: {url: string; cookies?: Map<string, string>}, roomId: string): Promise<TestSocket> => {
  const socket = await connect(who)
  expect(await socket.ask('join_room', roomId)).toMatchObject({ok: true})
  return socket
}

/** People in one room, in it one after the other. */
const people = async (count: number): Promise<{all: Person[]; roomId: string}> => {
  const all: Person[] = []
  for (let index = 0; index < count; index++) all.push(await signUp(server))
  return {all, roomId: await roomOf(all[0]!, ...all.slice(1))}
}

describe('openPresenceEvents', () => {
  it('tells every socket that joined a room with that person, on every node, and nobody else', async () => {
    const {all, roomId} = await people(3)
    const [ann, bob, carol] = all as [Person, Person, Person]
    const stranger = await signUp(server)
    const silent = [await connect(carol), await joined(stranger, await roomOf(stranger))]
    const watching = [await joined(ann, roomId), await joined(onOther(ann), roomId)]
    expect(await isOnline(ann, roomId, bob)).toBe(false)
    // That he is connected is enough: he need not have joined himself.
    await connect(bob)
    for (const one of watching) await heard(one, bob, [true])
    for (const one of silent) expect(told(one, bob)).toEqual([])
    for (const asking of [ann, bob, onOther(ann)]) expect(await isOnline(asking, roomId, bob)).toBe(true)
  })

  it('tells of bots, too', async () => {
    const {all, roomId} = await people(1)
    await asBot('helper').post(`/api/rooms/${roomId}/join`)
    const watching = await joined(all[0]!, roomId)
    await connectBot(server, {botId: 'helper'})
    await heard(watching, {id: 'bot_helper'}, [true])
  })

  it('tells nothing in rooms of more than 200 members, whose lists say it all the same', async () => {
    const {all, roomId} = await people(2)
    const [ann, bob] = all as [Person, Person]
    const both = await roomOf(ann, bob)
    const [large, small] = [await joined(ann, roomId), await joined(ann, both)]
    const crowd = await Promise.all(range(0, 199).map((one) => asBot(`crowd-${one}`).post(`/api/rooms/${roomId}/join`)))
    expect(crowd.every(({status}) => status === 200)).toBe(true)
    expect((await ann.get(`/api/rooms/${roomId}`)).body.room.memberCount).toBe(201)
    await connect(bob)
    await heard(small, bob, [true])
    expect(told(large, bob)).toEqual([])
    expect(await isOnline(ann, roomId, bob)).toBe(true)
  })

  it('tells of who is gone: with the last socket, with a node that is stopped, and with one that died', async () => {
    const {all, roomId} = await people(4)
    const [ann, bob, carol, dave] = all as [Person, Person, Person, Person]
    const [stopping, dying] = await Promise.all([
      startServer(server.env),
      spawnServer(server.dataDir, {env: {...server.env, PORT: '0'}}),
    ])
    onTestFinished(() => void dying.end('SIGKILL').catch(() => {}))
    const watching = [await joined(ann, roomId), await joined(onOther(ann), roomId)]
    const sockets = [await connect(bob), await connect(onOther(bob))]
    await connect({...carol, url: stopping.url})
    await connect({...dave, url: dying.url})
    for (const one of watching) for (const who of [bob, carol, dave]) await heard(one, who, [true])
    for (const socket of sockets) socket.disconnect()
    await Promise.all([stopping.stop(), dying.end('SIGKILL')])
    for (const one of watching) for (const who of [bob, carol, dave]) await heard(one, who, [true, false], 20_000)
    for (const who of [bob, carol, dave]) expect(await isOnline(ann, roomId, who)).toBe(false)
  })
})
