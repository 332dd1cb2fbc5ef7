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

const sent = (seq: number, {by = ann, nonce = null}: {by?: Actor; nonce?: string | null} = {}): ChatEvent => ({
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
    sentAt,
  },
})
const chat = (count: number, nonceOf: (seq: number) => string | null = () => null) =>
  Array.from({length: count}, (_, seq) => sent(seq, {nonce: nonceOf(seq)}))

const message = (seq: number, nonce: string | null = null) => ({
  roomId,
  messageId: `m-${seq}` as MessageId,
  content: `message ${seq}`,
  nonce,
  sentAt,
  sameContent: false,
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
      .when((state) => decideSend(state, bot('Echo'), message(0, 'n'), null))
      .happens(sent(0, {by: bot('Echo'), nonce: 'n'}))
  })

  it('sends nothing again under the nonce of an earlier message, whatever it says now', () => {
    given(sent(0, {nonce: 'n'}))
      .when((state) => decideSend(state, ann, message(1, 'n'), {content: 'message 0'}))
      .changesNothing()
  })

  it('refuses other content where the nonce stands for an Idempotency-Key', () => {
    const repeat = {...message(1, 'k'), sameContent: true}
    given(sent(0, {nonce: 'k'}))
      .when((state) => decideSend(state, ann, repeat, {content: 'message 0'}))
      .refuses('IDEMPOTENCY_KEY_REUSED')
    given(sent(0, {nonce: 'k'}))
      .when((state) => decideSend(state, ann, {...repeat, content: 'message 0'}, {content: 'message 0'}))
      .changesNothing()
  })
})

describe('recall', () => {
  const state = (events: ChatEvent[]) => chatFold.evolve(chatFold.initial, events)

  it('finds the message under a nonce, and only that of its sender', () => {
    const both = state([sent(0, {nonce: 'n'}), sent(1, {by: bob, nonce: 'n'}), sent(2)])
    expect(recall(both, ann.userId, 'n').found?.seq).toBe(0)
    expect(recall(both, bob.userId, 'n').found?.seq).toBe(1)
    expect(recall(both, person('Eve').userId, 'n').found).toBeNull()
    expect(recall(both, ann.userId, 'm').found).toBeNull()
  })

  it('tells from which seq on it knows', () => {
    expect(recall(state([]), ann.userId, 'n')).toEqual({found: null, from: 0})
    expect(recall(state(chat(3)), ann.userId, 'n')).toEqual({found: null, from: 0})
    expect(recall(state(chat(300).slice(-REMEMBERED)), ann.userId, 'n')).toEqual({found: null, from: 300 - REMEMBERED})
  })

  it('knows at least the newest REMEMBERED messages and at most twice as many, however long the chat is', () => {
    fc.assert(
      fc.property(fc.integer({min: 0, max: 700}), fc.integer({min: 0, max: 700}), (length, back) => {
        const long = state(chat(length, (seq) => `${seq}`))
        const {from} = recall(long, ann.userId, 'none')
        expect(from).toBeLessThanOrEqual(Math.max(0, length - REMEMBERED))
        expect(from).toBeGreaterThanOrEqual(Math.max(0, length - 2 * REMEMBERED))
        const seq = length - 1 - back
        const {found} = recall(long, ann.userId, `${seq}`)
        expect(found?.seq ?? null).toBe(seq >= from ? seq : null)
      }),
    )
  })

  it('gives the same from the newest REMEMBERED events as from all of them, as far as it knows', () => {
    const newest = state(chat(500, (seq) => `${seq}`).slice(-chatFold.newest!))
    expect(newest.lastSeq).toBe(499)
    expect(recall(newest, ann.userId, '436').found?.seq).toBe(436)
    expect(recall(newest, ann.userId, '435')).toEqual({found: null, from: 436})
  })

  it('leaves the states before as they were', () => {
    const before = state(chat(2 * REMEMBERED, (seq) => `${seq}`))
    const known = recall(before, ann.userId, 'none').from
    chatFold.evolve(before, [sent(2 * REMEMBERED)])
    expect(before.lastSeq).toBe(2 * REMEMBERED - 1)
    expect(recall(before, ann.userId, 'none').from).toBe(known)
    expect(recall(before, ann.userId, `${known}`).found?.seq).toBe(known)
  })
})
