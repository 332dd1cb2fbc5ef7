import {randomUUID} from 'node:crypto'
import {beforeAll, describe, expect, it} from 'vitest'
import {Busy, type Execute} from '../../src/commands/execute.ts'
import type {DomainEvent} from '../../src/domain/catalogue.ts'
import {type Chat, type ChatEvent, decideSend, type MessageId, REMEMBERED, recall} from '../../src/domain/chat.ts'
import {type Decision, isRefusal, refusal} from '../../src/domain/event.ts'
import {
  decideJoin,
  decideLeave,
  inviteeOf,
  isMember,
  type Room,
  type RoomEvent,
  type RoomId,
} from '../../src/domain/room.ts'
import {type EventLog, LogUnavailable} from '../../src/log/eventLog.ts'
import {chatFold, chatStream, roomFold, roomStream} from '../../src/streams/streams.ts'
import {eventually} from '../support/eventually.ts'
import {type Node, overEachLog, type Place} from '../support/place.ts'
import {identityOf, person} from '../support/specification.ts'

const ann = person('Ann')
const bob = person('Bob')

const newRoomId = () => `r-${randomUUID()}` as RoomId
const context = (actor: string | null = ann.userId) => ({name: 'test', actor, correlationId: 'request'})

const send = (
  {execute}: {execute: Execute},
  roomId: RoomId,
  {content = 'hi', nonce = null, by = ann}: {content?: string; nonce?: string | null; by?: typeof ann} = {},
) =>
  execute.execute(chatStream(roomId), chatFold, context(by.userId), (chat) =>
    decideSend(
      chat,
      by,
      {roomId, messageId: 'm' as MessageId, content, nonce, key: null, sentAt: new Date().toISOString()},
      nonce === null ? null : recall(chat, {senderId: by.userId, nonce, key: null}).found,
    ),
  )

/** Decides about a room, and keeps each state that it was asked about. */
const decideRoom = async (
  {execute}: {execute: Execute},
  roomId: RoomId,
  decide: (room: Room) => Decision<RoomEvent>,
) => {
  const seen: Room[] = []
  const result = await execute.execute(roomStream(roomId), roomFold, context(), (room) => {
    seen.push(room)
    return decide(room)
  })
  return {result, seen}
}

const roomOf = (roomId: RoomId, visibility: 'invite' | 'open' = 'invite'): RoomEvent[] => [
  {type: 'RoomCreated', data: {roomId, name: 'Lobby', visibility, creatorId: ann.userId}},
  {type: 'UserJoined', data: {roomId, userId: ann.userId, username: 'Ann', isBot: false, invitation: null}},
]
const bobJoined = (roomId: RoomId, invitation: ReturnType<typeof inviteeOf> | null = null): RoomEvent => ({
  type: 'UserJoined',
  data: {roomId, userId: bob.userId, username: 'Bob', isBot: false, invitation},
})
const bobLeft = (roomId: RoomId): RoomEvent => ({
  type: 'UserLeft',
  data: {roomId, userId: bob.userId, username: 'Bob'},
})
const bobInvited = (roomId: RoomId): RoomEvent => ({
  type: 'UserInvited',
  data: {
    roomId,
    invitee: inviteeOf(identityOf('Bob')),
    named: identityOf('Bob'),
    standing: 'new',
    inviterId: ann.userId,
    inviterName: 'Ann',
  },
})

type Append = EventLog['append']
const appendBy =
  (append: (inner: Append) => Append) =>
  (log: EventLog): EventLog => ({...log, append: append(log.append)})

describe('execute', () => {
  overEachLog((here) => {
    let place: Place
    let node: Node
    beforeAll(() => {
      place = here.place
      node = here.node
    })

    const messages = async (roomId: RoomId) => {
      const found: ChatEvent['data'][] = []
      for await (const record of place.log.readStream(chatStream(roomId))) {
        const [event] = await place.codec.decode([record])
        found.push((event as unknown as ChatEvent).data)
      }
      return found
    }
    const revisionsOf = async (stream: string) => {
      const revisions: number[] = []
      for await (const {revision} of place.log.readStream(stream)) revisions.push(revision)
      return revisions
    }

    it('appends what was decided, with who did it, when, by which command and because of what', async () => {
      const roomId = newRoomId()
      await place.given(...roomOf(roomId, 'open'))
      const began = Date.now()
      const joined = await node.execute.execute(
        roomStream(roomId),
        roomFold,
        {name: 'joinRoom', actor: bob.userId, correlationId: 'request', causationId: 'cause'},
        (room) => decideJoin(room, bob),
      )
      const [event, ...rest] = await place.logged()
      expect(rest).toEqual([])
      expect(event).toMatchObject({...bobJoined(roomId), stream: roomStream(roomId), revision: 2})
      const {time, ...metadata} = event!.metadata
      expect(metadata).toEqual({
        version: 1,
        actor: bob.userId,
        command: 'joinRoom',
        correlationId: 'request',
        causationId: 'cause',
      })
      expect(Date.parse(time)).toBeGreaterThanOrEqual(began)
      expect(Date.parse(time)).toBeLessThanOrEqual(Date.now())
      expect(joined).toMatchObject({events: [bobJoined(roomId)], position: event!.position, time})
    })

    it('gives the first event the id that was asked for', async () => {
      const roomId = newRoomId()
      const id = randomUUID()
      await place.given()
      await node.execute.execute(roomStream(roomId), roomFold, context(), () => roomOf(roomId), {firstEventId: id})
      const [first, second] = await place.logged()
      expect(first!.id).toBe(id)
      expect(second!.id).not.toBe(id)
    })

    it('appends nothing where all is as wished, and says where the stream stands', async () => {
      const roomId = newRoomId()
      await place.given(...roomOf(roomId))
      const position = await place.log.head()
      const {result} = await decideRoom(node, roomId, (room) => decideJoin(room, ann))
      expect(result).toMatchObject({events: [], position, state: {kind: 'room'}})
      expect(await place.happened()).toEqual([])
    })

    it('loads what is new after a conflict, and decides again', async () => {
      const roomId = newRoomId()
      await place.given(...roomOf(roomId, 'open'))
      await node.execute.load(roomStream(roomId), roomFold)
      await place.given(bobInvited(roomId))
      const {result, seen} = await decideRoom(node, roomId, (room) => decideJoin(room, bob))
      expect(seen.map((room) => room.kind === 'room' && room.invitations.size)).toEqual([0, 1])
      expect(result).toMatchObject({events: [bobJoined(roomId, inviteeOf(identityOf('Bob')))]})
      expect(await place.happened()).toEqual([bobJoined(roomId, inviteeOf(identityOf('Bob')))])
    })

    it('decides a refusal that rests on remembered state again from the log', async () => {
      const roomId = newRoomId()
      await place.given(...roomOf(roomId))
      await node.execute.load(roomStream(roomId), roomFold)
      const refused = await decideRoom(node, roomId, (room) => decideJoin(room, bob))
      expect(refused.result).toEqual({refused: 'NOT_INVITED'})
      expect(refused.seen).toHaveLength(2)
      await place.given(bobInvited(roomId))
      const {result} = await decideRoom(node, roomId, (room) => decideJoin(room, bob))
      expect(result).toMatchObject({events: [{type: 'UserJoined'}]})
    })

    it('decides that nothing is to be done again from the log, when it rests on remembered state', async () => {
      const roomId = newRoomId()
      await place.given(...roomOf(roomId, 'open'), bobJoined(roomId))
      await node.execute.load(roomStream(roomId), roomFold)
      await place.given(bobLeft(roomId))
      const {result} = await decideRoom(node, roomId, (room) => decideJoin(room, bob))
      expect(result).toMatchObject({events: [bobJoined(roomId)]})
      expect(await place.happened()).toEqual([bobJoined(roomId)])
    })

    it('does not ask the log twice about a stream that it just read', async () => {
      const {result, seen} = await decideRoom(node, newRoomId(), (room) => decideJoin(room, bob))
      expect(result).toEqual({refused: 'NOT_FOUND'})
      expect(seen).toHaveLength(1)
    })

    it('reads a stream that a command begins only where it is there already', async () => {
      const roomId = newRoomId()
      let reads = 0
      const begin = async () => {
        const other = await place.startNode({
          wrap: (log) => ({
            ...log,
            readStream: (...args) => {
              reads++
              return log.readStream(...args)
            },
          }),
        })
        const decide = (room: Room) => (room.kind === 'none' ? roomOf(roomId) : [])
        return other.execute.execute(roomStream(roomId), roomFold, context(), decide, {begins: true})
      }
      const begun = await begin()
      if (isRefusal(begun)) throw new Error('refused')
      expect(begun.events).toEqual(roomOf(roomId))
      expect(reads).toBe(0)
      expect(await begin()).toMatchObject({events: [], state: begun.state, position: begun.position})
      expect(reads).toBe(1)
      expect(await revisionsOf(roomStream(roomId))).toHaveLength(roomOf(roomId).length)
    })

    it('is busy for a command after 2 seconds of conflicts, and goes on with those behind it', async () => {
      const roomId = newRoomId()
      const rival = await place.startNode()
      let contested = true
      const unlucky = await place.startNode({
        wrap: appendBy((append) => async (...args) => {
          if (contested) await send(rival, roomId, {content: 'rival', by: bob})
          return append(...args)
        }),
      })
      const later = (ms: number, content: string) =>
        new Promise<Awaited<ReturnType<typeof send>>>((resolve, reject) => {
          setTimeout(() => send(unlucky, roomId, {content}).then(resolve, reject), ms)
        })
      const began = performance.now()
      const [first, second, third] = [later(0, 'first'), later(200, 'second'), later(1_000, 'third')]
      await expect(first).rejects.toThrow(Busy)
      const took = performance.now() - began
      expect(took).toBeGreaterThan(1_900)
      expect(took).toBeLessThan(4_000)
      // By now the second and the third wait for the same append.
      await expect(second).rejects.toThrow(Busy)
      contested = false
      expect(await third).toMatchObject({events: [{data: {content: 'third'}}]})
      const stored = (await messages(roomId)).map(({content}) => content)
      expect(stored.filter((content) => content !== 'rival')).toEqual(['third'])
    })

    it('shares few appends among the commands that wait for one stream', async () => {
      const roomId = newRoomId()
      let appends = 0
      const counted = await place.startNode({
        wrap: appendBy((append) => (...args) => {
          appends++
          return append(...args)
        }),
      })
      const sent = await Promise.all(
        Array.from({length: 500}, (_, index) => send(counted, roomId, {content: `${index}`})),
      )
      expect(appends).toBeLessThanOrEqual(Math.ceil(500 / REMEMBERED) + 1)
      const stored = await messages(roomId)
      expect(stored.map(({seq, content}) => [seq, content])).toEqual(stored.map((_, index) => [index, `${index}`]))
      expect(stored).toHaveLength(500)
      expect(sent.map((one) => 'events' in one && one.events[0]!.data.content)).toEqual(
        stored.map(({content}) => content),
      )
      const positions = sent.map((one) => ('events' in one ? one.position! : -1n))
      expect(positions.every((position, index) => index === 0 || position >= positions[index - 1]!)).toBe(true)
    })

    it('keeps an append within what a log takes, however many bytes a character has', async () => {
      const roomId = newRoomId()
      const sizes: number[] = []
      const measured = await place.startNode({
        wrap: appendBy((append) => (stream, events, expected) => {
          sizes.push(Buffer.byteLength(JSON.stringify(events)))
          return append(stream, events, expected)
        }),
      })
      await Promise.all(Array.from({length: 200}, () => send(measured, roomId, {content: '漢'.repeat(4_000)})))
      expect(await messages(roomId)).toHaveLength(200)
      expect(Math.max(...sizes)).toBeLessThanOrEqual(513 * 1024)
    })

    it('keeps an append within what a log takes, however small its events are', async () => {
      const roomId = newRoomId()
      await place.given(...roomOf(roomId, 'open'))
      const changed = await Promise.all(
        Array.from({length: 4_000}, () =>
          node.execute.execute(roomStream(roomId), roomFold, context(bob.userId), (room) =>
            isMember(room, bob.userId) ? decideLeave(room, bob) : decideJoin(room, bob),
          ),
        ),
      )
      expect(changed.filter((one) => 'refused' in one)).toEqual([])
      expect(await place.happened()).toHaveLength(4_000)
    })

    it('remembers what an append shares: a repeat of its first command is none behind a hundred others', async () => {
      const roomId = newRoomId()
      const sent = await Promise.all([
        send(node, roomId, {nonce: 'once', content: 'first'}),
        ...Array.from({length: 3 * REMEMBERED}, () => send(node, roomId)),
      ])
      const again = await Promise.all([
        ...Array.from({length: REMEMBERED - 1}, () => send(node, roomId)),
        send(node, roomId, {nonce: 'twice'}),
        ...Array.from({length: REMEMBERED - 2}, () => send(node, roomId)),
        send(node, roomId, {nonce: 'twice'}),
      ])
      expect(sent.length + again.length - 1).toBe((await messages(roomId)).length)
      expect((await messages(roomId)).filter(({nonce}) => nonce === 'twice')).toHaveLength(1)
    })

    it('settles each command of an append by itself: one refused, one faulty, the others done', async () => {
      const roomId = newRoomId()
      await place.given(...roomOf(roomId, 'open'))
      const fault = new Error('not decided')
      const guest = person('Guest')
      const [joined, refused, failed, left] = await Promise.allSettled([
        decideRoom(node, roomId, (room) => decideJoin(room, guest)),
        decideRoom(node, roomId, () => refusal({refused: 'ROOM_FULL'})),
        decideRoom(node, roomId, () => {
          throw fault
        }),
        decideRoom(node, roomId, (room) => decideLeave(room, guest)),
      ])
      expect(joined).toMatchObject({value: {result: {events: [{type: 'UserJoined'}]}}})
      expect(refused).toMatchObject({value: {result: {refused: 'ROOM_FULL'}}})
      expect(failed).toMatchObject({reason: fault})
      expect(left).toMatchObject({value: {result: {events: [{type: 'UserLeft'}]}}})
      expect((await place.happened()).map(({type}) => type)).toEqual(['UserJoined', 'UserLeft'])
    })

    it('fails what shared a failed append, and nothing that waits behind it', async () => {
      const roomId = newRoomId()
      let failing = true
      const broken = await place.startNode({
        wrap: appendBy((append) => async (...args) => {
          if (!failing) return append(...args)
          failing = false
          throw new Error('broken')
        }),
      })
      const sent = await Promise.allSettled(
        Array.from({length: 3 * REMEMBERED}, (_, index) => send(broken, roomId, {content: `${index}`})),
      )
      const done = sent.flatMap((one, index) => (one.status === 'fulfilled' ? [`${index}`] : []))
      expect(done).toHaveLength(2 * REMEMBERED)
      expect((await messages(roomId)).map(({content}) => content)).toEqual(done)
    })

    it.each([
      ['after it was stored', true],
      ['before it was stored', false],
    ])('stores one copy where the outcome of an append is unknown: lost %s', async (_, stores) => {
      const roomId = newRoomId()
      let lost = 0
      const unsure = await place.startNode({
        wrap: appendBy((append) => async (...args) => {
          if (lost > 0) return append(...args)
          lost++
          if (stores) await append(...args)
          throw new LogUnavailable('lost')
        }),
      })
      const sent = await Promise.all([send(unsure, roomId, {content: 'a'}), send(unsure, roomId, {content: 'b'})])
      expect(lost).toBe(1)
      expect(sent.map((one) => 'events' in one && one.events[0]!.data.seq)).toEqual([0, 1])
      expect((await messages(roomId)).map(({content}) => content)).toEqual(['a', 'b'])
      expect(await send(unsure, roomId)).toMatchObject({events: [{data: {seq: 2}}]})
    })

    it('stores one copy also when others wrote the stream before the outcome was known', async () => {
      const roomId = newRoomId()
      const rival = await place.startNode()
      let lost = 0
      const unsure = await place.startNode({
        wrap: appendBy((append) => async (...args) => {
          if (lost > 0) return append(...args)
          lost++
          await append(...args)
          await send(rival, roomId, {content: 'b', by: bob})
          throw new LogUnavailable('lost')
        }),
      })
      expect(await send(unsure, roomId, {content: 'a'})).toMatchObject({events: [{data: {seq: 0}}]})
      expect(await send(unsure, roomId, {content: 'c'})).toMatchObject({events: [{data: {seq: 2}}]})
      expect((await messages(roomId)).map(({content}) => content)).toEqual(['a', 'b', 'c'])
    })

    it('gives up where the log stays away, and goes on when it is back, whatever it stored', async () => {
      const roomId = newRoomId()
      let away = true
      const unsure = await place.startNode({
        wrap: appendBy((append) => async (...args) => {
          const appended = await append(...args)
          if (away) throw new LogUnavailable('lost')
          return appended
        }),
      })
      await expect(send(unsure, roomId, {content: 'a', nonce: 'n'})).rejects.toThrow(LogUnavailable)
      away = false
      expect(await send(unsure, roomId, {content: 'a', nonce: 'n'})).toMatchObject({events: []})
      expect(await send(unsure, roomId, {content: 'b'})).toMatchObject({events: [{data: {seq: 1}}]})
      expect(await messages(roomId)).toHaveLength(2)
    })

    it('lets nobody starve: of two nodes that write one stream without a pause both get on', async () => {
      const roomId = newRoomId()
      const nodes = [await place.startNode({follow: true}), await place.startNode({follow: true})]
      const done = [0, 0]
      let running = true
      const write = async (index: number) => {
        while (running) {
          await send(nodes[index]!, roomId, {content: `${index}`})
          done[index]!++
        }
      }
      const writing = [write(0), write(1)]
      await eventually(() => done[0]! + done[1]! >= 120, {ms: 15_000})
      running = false
      await Promise.all(writing)
      expect(Math.min(...done)).toBeGreaterThanOrEqual(12)
      const stored = await messages(roomId)
      expect(stored.map(({seq}) => seq)).toEqual(stored.map((_, seq) => seq))
      expect(stored).toHaveLength(done[0]! + done[1]!)
    })

    it('leaves a gap now and then in which another node could write, also where it sees none', async () => {
      const roomId = newRoomId()
      const times: {from: number; to: number}[] = []
      const timed = await place.startNode({
        wrap: appendBy((append) => async (...args) => {
          const from = performance.now()
          const appended = await append(...args)
          times.push({from, to: performance.now()})
          return appended
        }),
      })
      const until = performance.now() + 500
      while (performance.now() < until) await send(timed, roomId)
      const took = times.map(({from, to}) => to - from)
      let since = times[0]!.from
      let longest = 0
      for (const [index, {from}] of times.entries()) {
        const before = times[index - 1]
        if (before && from - before.to >= Math.min(...took)) since = from
        longest = Math.max(longest, times[index]!.to - since)
      }
      expect(longest).toBeLessThan(100 + 3 * Math.max(...took))
    })

    it('takes 10,000 commands for one stream, and is busy for the next', async () => {
      const roomId = newRoomId()
      let release = () => {}
      const held = new Promise<void>((resolve) => {
        release = resolve
      })
      const first = node.execute.execute(chatStream(roomId), chatFold, context(), async () => {
        await held
        return []
      })
      // The first is being decided and waits no more.
      await eventually(() => new Promise<boolean>((resolve) => setImmediate(() => resolve(true))))
      const nothing = () => node.execute.execute(chatStream(roomId), chatFold, context(), () => [])
      const waiting = Array.from({length: 10_000}, nothing)
      await expect(nothing()).rejects.toThrow(Busy)
      release()
      await Promise.all([first, ...waiting])
      await nothing()
    })

    it('refuses an event that is larger than the log takes, and goes on', async () => {
      const roomId = newRoomId()
      const sent = await Promise.allSettled([
        send(node, roomId, {content: 'a'}),
        send(node, roomId, {content: 'x'.repeat(1_100_000)}),
        send(node, roomId, {content: 'b'}),
      ])
      expect(sent.map(({status}) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
      expect(sent[1]).toMatchObject({reason: expect.any(RangeError)})
      expect((await messages(roomId)).map(({content}) => content)).toEqual(['a', 'b'])
    })

    it('decides nothing on a stream that it can not read to its end, and says where it stopped', async () => {
      const roomId = newRoomId()
      const id = randomUUID()
      const unknown = {id, type: 'RoomCreated', data: {}, metadata: {version: 99}}
      await place.log.append(roomStream(roomId), [unknown], 'none')
      await expect(decideRoom(node, roomId, (room) => decideJoin(room, bob))).rejects.toThrow(`event ${id} at position`)
      expect(await revisionsOf(roomStream(roomId))).toEqual([0])
    })
  })
})

describe('load', () => {
  overEachLog((here) => {
    let place: Place
    let reads = 0
    let node: Node

    beforeAll(async () => {
      place = here.place
      const countReads = (log: EventLog): EventLog => ({
        ...log,
        readStream: (...args) => {
          reads++
          return log.readStream(...args)
        },
      })
      node = await place.startNode({follow: true, wrap: countReads})
    })

    const membersOf = (room: Room) => (room.kind === 'room' ? [...room.members.keys()] : null)

    it('remembers a stream and lets the tail keep it up, without reading it again', async () => {
      const roomId = newRoomId()
      const stream = roomStream(roomId)
      await place.given(...roomOf(roomId, 'open'))
      await node.tail.reached((await place.log.head())!, 10_000)
      await node.execute.load(stream, roomFold)
      const before = reads
      await place.given(bobJoined(roomId))
      const position = (await place.log.head())!
      expect(await node.tail.reached(position, 10_000)).toBe(true)
      const {state, revision, position: at} = await node.execute.load(stream, roomFold)
      expect(membersOf(state)).toEqual([ann.userId, bob.userId])
      expect([revision, at]).toEqual([2, position])
      expect(reads).toBe(before)
    })

    it('reads the log where it is asked to', async () => {
      const roomId = newRoomId()
      const lagging = await place.startNode()
      await place.given(...roomOf(roomId, 'open'))
      await lagging.execute.load(roomStream(roomId), roomFold)
      await place.given(bobJoined(roomId))
      const remembered = await lagging.execute.load(roomStream(roomId), roomFold)
      const fresh = await lagging.execute.load(roomStream(roomId), roomFold, {fresh: true})
      expect(membersOf(remembered.state)).toEqual([ann.userId])
      expect(membersOf(fresh.state)).toEqual([ann.userId, bob.userId])
    })

    it('reads of a long chat only its newest events', async () => {
      const roomId = newRoomId()
      const chat: DomainEvent[] = Array.from({length: 300}, (_, seq) => ({
        type: 'MessageSent',
        data: {
          roomId,
          messageId: `m-${seq}` as MessageId,
          seq,
          senderId: ann.userId,
          username: 'Ann',
          isBot: false,
          content: 'hi',
          nonce: null,
          key: null,
          sentAt: new Date().toISOString(),
        },
      }))
      await place.given(...chat)
      const {state} = await node.execute.load(chatStream(roomId), chatFold, {fresh: true})
      expect((state as Chat).lastSeq).toBe(299)
      expect(recall(state as Chat, {senderId: ann.userId, nonce: 'none', key: null}).from).toBe(300 - REMEMBERED)
    })

    it('forgets what it remembers where the tail brings an event that does not follow, and reads it again', async () => {
      const roomId = newRoomId()
      const lagging = await place.startNode()
      await place.given(...roomOf(roomId, 'open'))
      await lagging.execute.load(roomStream(roomId), roomFold)
      await place.given(bobJoined(roomId), bobLeft(roomId))
      const record = await place.log.readAt((await place.log.head())!)
      const [last] = await place.codec.decode([record!])
      lagging.execute.observe(last!)
      const {state, revision} = await lagging.execute.load(roomStream(roomId), roomFold)
      expect(membersOf(state)).toEqual([ann.userId])
      expect(revision).toBe(3)
    })
  })
})
