import {expect, it, onTestFinished} from 'vitest'
import {createDatabase} from '../support/database.ts'
import {expectSeqs, roomOf, seqsOf} from '../support/rooms.ts'
import {connect, connectBot, signUp, startServer} from '../support/server.ts'
import {throughProxy} from '../support/tcpProxy.ts'

it('a resume shows nothing positioned after a leave, also where this node has yet to hear of the leave', async () => {
  const database = await createDatabase()
  // The log in PostgreSQL, whatever the others' is: its way is cut here.
  const here = {DATABASE_URL: database, EVENTSTORE_URL: undefined, EVENTSTORE_PREFIX: undefined}
  const server = await startServer(here)
  const {proxy, url} = await throughProxy(database)
  onTestFinished(() => proxy.close())
  const behind = await startServer({...server.env, DATABASE_URL: url})
  const [ann, bob] = [await signUp(server), await signUp(server)]
  const roomId = await roomOf(ann, bob)
  const writer = await connectBot(server)
  await writer.ask('send_message', {roomId, content: 'among us'})
  const socket = await connect({...bob, url: behind.url})
  await socket.ask('join_room', roomId, {since: -1})
  await expectSeqs(socket, 0, 1)

  proxy.stall('community log listener')
  await bob.post(`/api/rooms/${roomId}/leave`)
  await writer.ask('send_message', {roomId, content: 'behind the back of the one who left'})
  expect(['NOT_A_MEMBER', 'BUSY']).toContain((await socket.ask('join_room', roomId, {since: 0})).code)
  proxy.resume()
  expect((await socket.ask('join_room', roomId, {since: 0})).code).toBe('NOT_A_MEMBER')
  expect(seqsOf(socket)).toEqual([0])
})
