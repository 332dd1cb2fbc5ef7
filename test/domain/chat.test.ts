import fc from 'fast-check'
import {describe, expect, it} from 'vitest'
import {type ChatEvent, decideSend, type MessageId, REMEMBERED, recall} from '../../src/domain/chat.ts'
import type {RoomId} from '../../src/domain/room.ts'
import type {Actor} from '../../src/domain/user.ts'
import {chatFold} from '../../src/streams/streams.ts'
import {bot, person, specify} from '../support/specification.ts'

const given = specify(chatFold)
const roomId = 'r-1' as RoomId
const ann = person('Ann')
const bob = person('Bob')
const sentAt = '2025-01-01T00:00:00.000Z'

type Marked = {nonce?: string | null; key?: string | null}

const sent = (seq: number, {by = ann, nonce = null, key = null}: Marked & {by?: Actor} = {}): ChatEvent => ({
  type: 'MessageSent',
  data: {
    roomId,
    messageId: `m-${seq}` as MessageId,
    seq,
    senderId: by.userId,
    username: by.username,
    isBot: by.isBot,
    content: `message ${seq}`,
    nonce,
    key,
    sentAt,
  },
})
const chat = (count: number, nonceOf: (seq: number) => string | null = () => null) =>
  Array.from({length: count}, (_, seq) => sent(seq, {nonce: nonceOf(seq)}))

const message = (seq: number, {nonce = null, key = null}: Marked = {}) => ({
  roomId,
  messageId: `m-${seq}` as MessageId,
  content: `message ${seq}`,
  nonce,
  key,
  sentAt,
})

describe('decideSend', () => {
  it('counts the messages of a room from 0, without gaps', () => {
    given()
      .when((state) => decideSend(state, ann, message(0), null))
      .happens(sent(0))
    given(...chat(300))
      .when((state) => decideSend(state, bob, message(300), null))
      .happens(sent(300, {by: bob}))
  })

  it('says of a bot that it is one', () => {
    given()
      .when((state) => decideSend(state, bot('Echo'), message(0, {nonce: 'n'}), null))
      .happens(sent(0, {by: bot('Echo'), nonce: 'n'}))
  })

  it('sends nothing again under the nonce of an earlier message, whatever it says now', () => {
    given(sent(0, {nonce: 'n'}))
      .when((state) => decideSend(state, ann, message(1, {nonce: 'n'}), message(0, {nonce: 'n'})))
      .changesNothing()
  })

  it('refuses another request under the same Idempotency-Key', () => {
    const stored = given(sent(0, {key: 'k', nonce: 'n'}))
    const earlier = message(0, {key: 'k', nonce: 'n'})
    stored
      .when((state) => decideSend(state, ann, {...earlier, content: 'other'}, earlier))
      .refuses('IDEMPOTENCY_KEY_REUSED')
    stored.when((state) => decideSend(state, ann, {...earlier, nonce: null}, earlier)).refuses('IDEMPOTENCY_KEY_REUSED')
    stored.when((state) => decideSend(state, ann, earlier, earlier)).changesNothing()
  })
})

describe('recall', () => {
  const by = ({userId: senderId}: Actor, nonce: string) => ({senderId, nonce, key: null})
  const state = (events: ChatEvent[]) => chatFold.evolve(chatFold.initial, events)

  it('finds the message under a nonce, and only that of its sender', () => {
    const both = state([sent(0, {nonce: 'n'}), sent(1, {by: bob, nonce: 'n'}), sent(2)])
    expect(recall(both, by(ann, 'n')).found?.seq).toBe(0)
    expect(recall(both, by(bob, 'n')).found?.seq).toBe(1)
    expect(recall(both, by(person('Eve'), 'n')).found).toBeNull()
    expect(recall(both, by(ann, 'm')).found).toBeNull()
  })

  it('finds the message under a key, and takes no nonce for one', () => {
    const one = state([sent(0, {key: 'k'}), sent(1, {nonce: 'k', by: bob})])
    expect(recall(one, {senderId: ann.userId, nonce: null, key: 'k'}).found?.seq).toBe(0)
    expect(recall(one, {senderId: bob.userId, nonce: null, key: 'k'}).found).toBeNull()
    expect(recall(one, by(ann, 'k')).found).toBeNull()
  })

  it('tells from which seq on it knows', () => {
    expect(recall(state([]), by(ann, 'n'))).toEqual({found: null, from: 0})
    expect(recall(state(chat(3)), by(ann, 'n'))).toEqual({found: null, from: 0})
    expect(recall(state(chat(300).slice(-REMEMBERED)), by(ann, 'n'))).toEqual({found: null, from: 300 - REMEMBERED})
  })

  it('knows at least the newest REMEMBERED messages and at most twice as many, however long the chat is', () => {
    fc.assert(
      fc.property(fc.integer({min: 0, max: 700}), fc.integer({min: 0, max: 700}), (length, back) => {
        const long = state(chat(length, (seq) => `${seq}`))
        const {from} = recall(long, by(ann, 'none'))
        expect(from).toBeLessThanOrEqual(Math.max(0, length - REMEMBERED))
        expect(from).toBeGreaterThanOrEqual(Math.max(0, length - 2 * REMEMBERED))
        const seq = length - 1 - back
        const {found} = recall(long, by(ann, `${seq}`))
        expect(found?.seq ?? null).toBe(seq >= from ? seq : null)
      }),
    )
  })

  it('gives the same from the newest REMEMBERED events as from all of them, as far as it knows', () => {
    const newest = state(chat(500, (seq) => `${seq}`).slice(-chatFold.newest!))
    expect(newest.lastSeq).toBe(499)
    expect(recall(newest, by(ann, '436')).found?.seq).toBe(436)
    expect(recall(newest, by(ann, '435'))).toEqual({found: null, from: 436})
  })

  it('leaves the states before as they were', () => {
    const before = state(chat(2 * REMEMBERED, (seq) => `${seq}`))
    const known = recall(before, by(ann, 'none')).from
    chatFold.evolve(before, [sent(2 * REMEMBERED)])
    expect(before.lastSeq).toBe(2 * REMEMBERED - 1)
    expect(recall(before, by(ann, 'none')).from).toBe(known)
    expect(recall(before, by(ann, `${known}`)).found?.seq).toBe(known)
  })
})
