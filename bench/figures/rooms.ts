import {randomUUID} from 'node:crypto'
import type {DomainEvent} from '../../src/domain/catalogue.ts'
import type {RoomId} from '../../src/domain/room.ts'
import type {Actor} from '../../src/domain/user.ts'
import {newMessageId, newRoomId} from '../../src/keys/ids.ts'
import {chatStream, roomStream} from '../../src/streams/streams.ts'
import {assertSame} from '../answers.ts'
import {type Figure, inTurn, judge} from '../harness.ts'
import {load, rates} from '../load.ts'
import {SECRETS} from '../place.ts'
import {type Append, fillWorld, people, register, signIn, textOf} from '../world.ts'

/** A room that these people are in. */
export const roomOf = (roomId: RoomId, members: readonly Actor[], name = 'A room'): Append => {
  const creatorId = members[0]!.userId
  const joined = members.map(
    ({userId, username}): DomainEvent => ({
      type: 'UserJoined',
      data: {roomId, userId, username, isBot: false, invitation: null},
    }),
  )
  const created: DomainEvent = {type: 'RoomCreated', data: {roomId, name, visibility: 'invite', creatorId}}
  return {stream: roomStream(roomId), events: [created, ...joined]}
}

/** What was said in a room, as so many appends as one can hold of it. */
function* said(roomId: RoomId, members: readonly Actor[], count: number): Generator<Append> {
  const content = textOf(100)
  for (let first = 0; first < count; first += 200) {
    const events: DomainEvent[] = []
    for (let seq = first; seq < Math.min(count, first + 200); seq++) {
      const {userId: senderId, username} = members[seq % members.length]!
      const what = {
        messageId: newMessageId(),
        content,
        nonce: randomUUID(),
        key: null,
        sentAt: new Date().toISOString(),
      }
      events.push({type: 'MessageSent', data: {roomId, seq, senderId, username, isBot: false, ...what}})
    }
    yield {stream: chatStream(roomId), events, after: first - 1}
  }
}

export const rooms: Figure = {
  name: 'rooms',
  measure: async (bench) => {
    const {place, quick} = bench
    const [count, long] = quick ? [5, 500] : [200, 100_000]
    const members = people(20)
    const roomIds = Array.from({length: count}, newRoomId)
    const databaseUrl = await place.database(`rooms_${Date.now()}`, (url) =>
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
      const options = {seconds: quick ? 1 : 4, connections: 50, requests}
      const samples = await inTurn(bench, {ours: () => load(ours, options), same: () => load(same, options)})
      const {unit, of} = rates(samples)
      const figure =
        what === 'rooms'
          ? `GET /api/rooms with a session, ${count} rooms a person`
          : `GET /api/rooms/:roomId/messages with a session, ${long.toLocaleString('en')} messages`
      rows.push(
        judge({
          figure,
          against: 'Express with the same middleware, session and headers + the bare query',
          unit,
          ours: of(samples.ours),
          baseline: of(samples.same),
          atLeast: 0.9,
          leavesOut:
            'TLS, a network. The baseline asks neither whether the person is still there and a member, nor for invitations and read marks.',
        }),
      )
    }
    return rows
  },
}
