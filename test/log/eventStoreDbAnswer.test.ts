import {randomUUID} from 'node:crypto'
import shared from '@eventstore/db-client/generated/shared_pb.js'
import messages from '@eventstore/db-client/generated/streams_pb.js'
import fc from 'fast-check'
import {describe, expect, it} from 'vitest'
import {answerIn} from '../../src/log/eventStoreDbAnswer.ts'
import {answerWith} from '../support/eventStoreServer.ts'

type Message = {serializeBinary(): Uint8Array}
const bytesOf = (message: Message): Buffer => Buffer.from(message.serializeBinary())

const stored = {
  id: randomUUID(),
  stream: 'ours.room-1',
  revision: 3,
  position: 4_711n,
  type: 'RoomCreated',
  data: Buffer.from('{"name":"Grüße"}'),
  metadata: Buffer.from('{}'),
}

describe('answerIn', () => {
  it('reads every event as the client’s own classes wrote it', () => {
    const anyText = fc.string({unit: 'grapheme', maxLength: 300})
    const anyEvent = fc.record({
      id: fc.uuid(),
      stream: anyText.filter((name) => name !== ''),
      revision: fc.maxSafeNat(),
      position: fc.bigInt({min: 0n, max: 2n ** 64n - 1n}),
      type: anyText,
      data: anyText,
      metadata: anyText,
    })
    fc.assert(
      fc.property(anyEvent, ({data, metadata, ...rest}) => {
        const event = {...rest, data: Buffer.from(data), metadata: Buffer.from(metadata)}
        const bytes = event.data.length + event.metadata.length
        expect(answerIn(bytesOf(answerWith(event)))).toEqual({...rest, data, metadata, bytes})
      }),
    )
  })

  it('tells the end of a stream from what ends nothing', () => {
    const {ReadResp} = messages
    const answers: [Message, string][] = [
      [new ReadResp().setStreamNotFound(new ReadResp.StreamNotFound()), 'whole'],
      [new ReadResp().setLastStreamPosition('0'), 'whole'],
      [new ReadResp().setFirstStreamPosition('7'), 'other'],
      [new ReadResp().setConfirmation(new ReadResp.SubscriptionConfirmation().setSubscriptionId('one')), 'other'],
      [new ReadResp().setCheckpoint(new ReadResp.Checkpoint().setCommitPosition('9').setPreparePosition('9')), 'other'],
      [new ReadResp().setLastAllStreamPosition(new shared.AllStreamPosition().setCommitPosition('9')), 'other'],
      [new ReadResp().setCaughtUp(new ReadResp.CaughtUp()), 'other'],
      // A link whose event is gone.
      [new ReadResp().setEvent(new ReadResp.ReadEvent().setCommitPosition('9')), 'other'],
    ]
    for (const [message, answer] of answers) expect(answerIn(bytesOf(message))).toBe(answer)
    expect(answerIn(Buffer.alloc(0))).toBe('other')
  })

  it('passes over fields that it does not know', () => {
    const known = bytesOf(answerWith(stored))
    // Fields 15 of each wire type: a number, 8 bytes, a text, 4 bytes.
    const unknown = Buffer.from('78ff017901020304050607087a03616263' + '7d01020304', 'hex')
    expect(answerIn(Buffer.concat([unknown, known, unknown]))).toEqual(answerIn(known))
  })

  it('takes no message that is cut short or broken for an event', () => {
    const whole = bytesOf(answerWith(stored))
    for (let length = 1; length < whole.length; length++) {
      expect(() => answerIn(whole.subarray(0, length))).toThrow('ends within')
    }
    const {ReadEvent} = messages.ReadResp
    const empty = new messages.ReadResp().setEvent(new ReadEvent().setEvent(new ReadEvent.RecordedEvent()))
    expect(() => answerIn(bytesOf(empty))).toThrow('without an id')
    expect(() => answerIn(Buffer.from('0b', 'hex'))).toThrow('wire type 3')
  })
})
