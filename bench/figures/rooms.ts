import {newRoomId} from '../../src/keys/ids.ts'
import {assertSame} from '../answers.ts'
import {compareWork, type Figure} from '../harness.ts'
import {load} from '../load.ts'
import {type Running, SECRETS} from '../place.ts'
import {fillWorld, people, register, roomOf, said, signIn} from '../world.ts'

export const rooms: Figure = {
  name: 'rooms',
  measure: async (bench) => {
    const {place, quick} = bench
    const [count, long] = quick ? [5, 500] : [200, 100_000]
    const members = people(20)
    const roomIds = Array.from({length: count}, newRoomId)
    const databaseUrl = await place.freshDatabase((url) =>
      fillWorld(url, async (world) => {
        const {append} = world
        await register(world, members)
        await append(roomIds.map((roomId) => roomOf(roomId, members)))
        // One append after the other, as each stands on the one before.
        for (const one of said(roomIds[0]!, members, long)) await append([one])
        await append(roomIds.slice(1).flatMap((roomId) => [...said(roomId, members, 20)]))
      }),
    )
    const cookies = await signIn(databaseUrl, members)
    const ours = await place.server({databaseUrl})
    const same = await place.baseline('bareQuery.ts', {databaseUrl, secret: SECRETS.SESSION_SECRET})
    const paths = {rooms: '/api/rooms', messages: `/api/rooms/${roomIds[0]}/messages`}
    const rows = []
    for (const [what, path] of Object.entries(paths)) {
      await assertSame(ours.url, same.url, path, cookies[0]!)
      const requests = cookies.map((cookie) => ({path, headers: {cookie}}))
      const side = (running: Running) => (rate?: number) =>
        load(running, {seconds: quick ? 1 : 2, connections: 50, rate, requests})
      const figure =
        what === 'rooms'
          ? `GET /api/rooms with a session, ${count} rooms a person`
          : `GET /api/rooms/:roomId/messages with a session, ${long.toLocaleString('en')} messages`
      const leavesOut =
        'TLS, a network. The baseline asks neither whether the person is still there and a member, nor for invitations and read marks.'
      rows.push(
        ...(await compareWork(bench, {figure, of: 'requests', leavesOut}, side(ours), [
          {
            against: 'Express with the same middleware, session and headers + the bare query',
            side: side(same),
            atLeast: 0.9,
          },
        ])),
      )
    }
    return rows
  },
}
