import {beforeAll, beforeEach, describe, expect, it} from 'vitest'
import {sendMessage} from '../../src/commands/sendMessage.ts'
import {REMEMBERED} from '../../src/domain/chat.ts'
import {newMessageId, newRoomId} from '../../src/keys/ids.ts'
import {joined, left, roomCreated, sent} from '../support/events.ts'
import {type Node, overEachLog} from '../support/place.ts'
import {bot, person} from '../support/specification.ts'

const ann = person('Ann')
const bob = person('Bob')
const context = {correlationId: 'request'}
type RoomId = ReturnType<typeof newRoomId>

describe('sendMessage', () => {
  overEachLog((here) => {
    let roomId: RoomId
    let near: Node
    let far: Node
    beforeAll(async () => {
      near = await here.place.startNode({follow: true})
      far = await here.place.startNode({follow: true})
      // The read tables are empty and stay so, until a test feeds them.
      const feeder = await here.place.startFeeder()
      await feeder.caughtUp()
      await feeder.runner.stop()
    })

    beforeEach(async () => {
      roomId = newRoomId()
      await given()
    })

    const given = async (...events: Parameters<typeof here.place.given>) => {
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann), joined(roomId, bob), ...events)
    }
    const send = async (
      {
        content = 'hi',
        nonce = null,
        by = ann,
        key = null,
      }: {content?: string; nonce?: string | null; by?: typeof ann; key?: string | null} = {},
      node = here.node,
    ) => sendMessage(node, {by, roomId, messageId: newMessageId(), content, nonce, key}, context)
    const stored = async () =>
      (await here.place.happened()).flatMap((event) => (event.type === 'MessageSent' ? [event.data] : []))

    describe('without a nonce', () => {
      it('appends the message with the next seq, and answers with it', async () => {
        await here.place.given(sent(roomId, 0, bob))
        const result = await send({content: 'hello'})
        const [event, ...rest] = await here.place.logged()
        expect(rest).toEqual([])
        expect(event).toMatchObject({
          stream: `chat-${roomId}`,
          data: {roomId, seq: 1, senderId: ann.userId, username: 'Ann', isBot: false, content: 'hello', nonce: null},
          metadata: {actor: ann.userId, command: 'sendMessage', correlationId: 'request'},
        })
        expect(result).toEqual({message: event!.data, position: event!.position})
      })

      it('counts without gaps, whoever sends at once on two nodes', async () => {
        await here.place.given()
        const results = await Promise.all(
          Array.from({length: 40}, (_, index) =>
            send({content: `${index}`, by: index % 3 ? ann : bob}, index % 2 ? near : far),
          ),
        )
        const messages = await stored()
        expect(messages.map(({seq}) => seq)).toEqual(messages.map((_, index) => index))
        expect(messages).toHaveLength(40)
        for (const result of results) expect(messages).toContainEqual('message' in result && result.message)
      })
    })

    describe('by whom', () => {
      it('lets a bot write that is not a member', async () => {
        expect(await send({by: bot('Echo')})).toMatchObject({message: {isBot: true, username: 'Echo'}})
      })

      it('refuses who is not a member, and a room that is not there', async () => {
        await here.place.given()
        expect(await send({by: person('Eve')})).toEqual({refused: 'NOT_A_MEMBER'})
        roomId = newRoomId()
        expect(await send()).toEqual({refused: 'NOT_FOUND'})
        expect(await send({by: bot('Echo')})).toEqual({refused: 'NOT_FOUND'})
        expect(await here.place.happened()).toEqual([])
      })

      it('refuses nobody who joined on another node just now', async () => {
        const late = person('Late')
        await here.place.given(joined(roomId, late))
        expect(await send({by: late})).toHaveProperty('message')
      })

      it('refuses who left, once the tail has told it', async () => {
        const following = await here.place.startNode({follow: true})
        expect(await send({by: bob}, following)).toHaveProperty('message')
        await here.place.given(left(roomId, bob))
        await following.tail.reached((await here.place.log.head())!, 10_000)
        expect(await send({by: bob}, following)).toEqual({refused: 'NOT_A_MEMBER'})
      })
    })

    describe('with a nonce', () => {
      it('answers a repeat with the first message, whatever it says now', async () => {
        const first = await send({nonce: 'a', content: 'first'})
        await here.place.given()
        const again = await send({nonce: 'a', content: 'second'})
        expect('message' in again && again.message).toEqual('message' in first && first.message)
        expect(await here.place.happened()).toEqual([])
      })

      it('takes the same nonce of another person, or in another room, for another message', async () => {
        await here.place.given()
        await send({nonce: 'b'})
        await send({nonce: 'b', by: bob})
        roomId = newRoomId()
        await given()
        await here.place.given()
        expect(await send({nonce: 'b'})).toMatchObject({message: {seq: 0}})
      })

      it('stores one copy of repeats that share an append', async () => {
        await here.place.given()
        const results = await Promise.all(Array.from({length: 10}, () => send({nonce: 'c'})))
        expect(await stored()).toHaveLength(1)
        expect(new Set(results.map((result) => 'message' in result && result.message.messageId)).size).toBe(1)
      })

      it('stores one copy of a repeat with hundreds of messages in between that wait as well', async () => {
        await here.place.given()
        const first = send({nonce: 'd'})
        const between = Array.from({length: 3 * REMEMBERED}, () => send())
        await Promise.all([first, ...between, send({nonce: 'd'})])
        const messages = await stored()
        expect(messages.filter(({nonce}) => nonce === 'd')).toHaveLength(1)
        expect(messages).toHaveLength(3 * REMEMBERED + 1)
      })

      it('stores one copy where two nodes get the repeats at once, among other messages', async () => {
        await here.place.given()
        const results = await Promise.all(
          Array.from({length: 40}, (_, index) =>
            send(index % 4 < 2 ? {nonce: `e${index >> 2}`} : {}, index % 2 ? near : far),
          ),
        )
        const messages = await stored()
        const nonces = messages.flatMap(({nonce}) => (nonce === null ? [] : [nonce]))
        expect(nonces.sort()).toEqual([...new Set(nonces)])
        expect(nonces).toHaveLength(10)
        expect(messages).toHaveLength(30)
        for (const result of results) expect(messages).toContainEqual('message' in result && result.message)
      })

      it('finds a repeat far back in the log while the table holds nothing of the room', async () => {
        const first = await send({nonce: 'f'})
        await Promise.all(Array.from({length: 3 * REMEMBERED}, () => send()))
        await here.place.given()
        for (const node of [here.node, await here.place.startNode()]) {
          const again = await send({nonce: 'f'}, node)
          expect('message' in again && again.message).toEqual('message' in first && first.message)
        }
        expect(await here.place.happened()).toEqual([])
      })

      it('finds a repeat in the table, with the position that it had, and one between table and memory in the log', async () => {
        const first = await send({nonce: 'g', content: 'in the table'})
        const feeder = await here.place.startFeeder()
        await feeder.caughtUp()
        await feeder.runner.stop()
        const second = await send({nonce: 'h'})
        await Promise.all(Array.from({length: 3 * REMEMBERED}, () => send()))
        await here.place.given()
        for (const node of [here.node, await here.place.startNode()]) {
          expect(await send({nonce: 'g'}, node)).toEqual(first)
          const again = await send({nonce: 'h'}, node)
          expect('message' in again && again.message).toEqual('message' in second && second.message)
        }
        expect(await here.place.happened()).toEqual([])
      })

      it('searches what the table does not hold once, however often it must decide', async () => {
        const ranges: {after: number; before: number}[] = []
        let conflicts = 5
        const rival = await here.place.startNode()
        const unlucky = await here.place.startNode({
          wrap: (log) => ({
            ...log,
            append: async (...args) => {
              if (conflicts-- > 0) await Promise.all(Array.from({length: 30}, () => send({by: bob}, rival)))
              return log.append(...args)
            },
          }),
        })
        const inLog: typeof unlucky.findMarked.inLog = (room, marks, range) => {
          ranges.push(range)
          return unlucky.findMarked.inLog(room, marks, range)
        }
        const watched = {...unlucky, findMarked: {...unlucky.findMarked, inLog}}
        await Promise.all(Array.from({length: 3 * REMEMBERED}, () => send()))
        expect(await send({nonce: 'j'}, watched)).toHaveProperty('message')
        expect(ranges.length).toBeGreaterThan(1)
        for (const [index, {after}] of ranges.slice(1).entries()) expect(after).toBe(ranges[index]!.before - 1)
      })

      it('reads of the log no more than what lies between table and memory', async () => {
        const before = await here.place.startNode({
          wrap: (log) => ({
            ...log,
            readStream: async function* (stream, options) {
              for await (const record of log.readStream(stream, options)) {
                if (stream.startsWith('chat-')) read++
                yield record
              }
            },
          }),
        })
        let read = 0
        const feeder = await here.place.startFeeder()
        await feeder.caughtUp()
        await feeder.runner.stop()
        await send({nonce: 'i'}, before)
        expect(read).toBeLessThanOrEqual(REMEMBERED + 1)
      })
    })

    it.each(['nonce', 'key'])(
      'answers a repeat by its %s also to who has left, and takes nothing new of them',
      async (mark) => {
        const first = await send({by: bob, content: 'bye', [mark]: '1'})
        await here.place.given(left(roomId, bob))
        const later = await here.place.startNode()
        expect(await send({by: bob, content: 'bye', [mark]: '1'}, later)).toEqual(first)
        expect(await send({by: bob, content: 'bye', [mark]: '2'}, later)).toEqual({refused: 'NOT_A_MEMBER'})
        expect(await here.place.happened()).toEqual([])
      },
    )

    describe('with an Idempotency-Key', () => {
      it('refuses another request, and answers the same one as the first time', async () => {
        const first = await send({key: '1', content: 'a'})
        await here.place.given()
        expect(await send({key: '1', content: 'b'})).toEqual({refused: 'IDEMPOTENCY_KEY_REUSED'})
        expect(await send({key: '1', content: 'a', nonce: 'n'})).toEqual({refused: 'IDEMPOTENCY_KEY_REUSED'})
        expect(await send({key: '1', content: 'a'})).toEqual(first)
        expect(await here.place.happened()).toEqual([])
      })

      it('knows a message by its key and by its nonce, and never takes the one for the other', async () => {
        const first = await send({key: '1', nonce: '2', content: 'a'})
        await here.place.given()
        for (const again of [{key: '1', nonce: '2'}, {nonce: '2'}, {key: '3', nonce: '2'}]) {
          expect(await send({...again, content: 'a'}, far)).toEqual(first)
        }
        expect(await send({key: '1', nonce: '4', content: 'a'}, far)).toEqual({refused: 'IDEMPOTENCY_KEY_REUSED'})
        expect(await here.place.happened()).toEqual([])
        for (const other of [{key: '2'}, {nonce: '1'}]) await send({...other, content: 'a'}, far)
        expect(await stored()).toHaveLength(2)
      })
    })
  })
})
