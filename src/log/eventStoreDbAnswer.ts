/** An event as EventStoreDB gives it back. `data` and `metadata` are JSON; `bytes`: the size of both in UTF-8. */
export type Recorded = {
  id: string
  type: string
  stream: string
  revision: number
  position: bigint
  data: string
  metadata: string
  bytes: number
}

/** `whole`: the last of a stream's answers, also where there is no such stream. `other`: what says nothing that is needed. */
export type Answer = Recorded | 'whole' | 'other'

/**
 * Reads a `ReadResp` of EventStoreDB's streams.proto (wire format: protobuf.dev/programming-guides/encoding). By hand, because
 * the generated classes make ten objects of an event and copy all that it holds, which took longer than everything else
 * that reading does. Throws where the message is not one.
 */
export const answerIn = (bytes: Buffer): Answer => {
  const cursor = {bytes, at: 0}
  let answer: Answer = 'other'
  while (isWithin(cursor, bytes.length)) {
    const tag = varint(cursor)
    if (tag === lengthDelimited(1)) answer = eventIn(cursor, endOf(cursor)) ?? answer
    else {
      // stream_not_found, last_stream_position
      if (tag === lengthDelimited(4) || tag === plain(6)) answer = 'whole'
      skip(cursor, tag)
    }
  }
  return answer
}

/** ReadResp.ReadEvent; null where the event is gone that a link leads to. */
const eventIn = (cursor: Cursor, end: number): Recorded | null => {
  let event: Recorded | null = null
  while (isWithin(cursor, end)) {
    const tag = varint(cursor)
    if (tag === lengthDelimited(1)) event = recordedIn(cursor, endOf(cursor))
    else skip(cursor, tag)
  }
  return event
}

/** ReadResp.ReadEvent.RecordedEvent */
const recordedIn = (cursor: Cursor, end: number): Recorded => {
  let [id, stream, type, data, metadata] = ['', '', '', '', '']
  let revision = 0
  let position = 0n
  let bytes = 0
  while (isWithin(cursor, end)) {
    const tag = varint(cursor)
    if (tag === lengthDelimited(1)) id = textIn(cursor, lengthDelimited(2))
    else if (tag === lengthDelimited(2)) stream = textIn(cursor, lengthDelimited(3))
    else if (tag === plain(3)) revision = varint(cursor)
    else if (tag === plain(5)) position = exactVarint(cursor)
    else if (tag === lengthDelimited(6)) type = typeIn(cursor) ?? type
    else if (tag === lengthDelimited(7) || tag === lengthDelimited(8)) {
      const past = endOf(cursor)
      bytes += past - cursor.at
      const json = textUpTo(cursor, past)
      if (tag === lengthDelimited(7)) metadata = json
      else data = json
    } else skip(cursor, tag)
  }
  if (id === '' || stream === '') throw new TypeError('an event without an id or a stream')
  return {id, type, stream, revision, position, data, metadata, bytes}
}

/** An entry of the map that holds what the server itself says of an event: null where it is not the type. */
const typeIn = (cursor: Cursor): string | null => {
  const end = endOf(cursor)
  let [key, value] = ['', '']
  while (isWithin(cursor, end)) {
    const tag = varint(cursor)
    if (tag === lengthDelimited(1)) key = text(cursor)
    else if (tag === lengthDelimited(2)) value = text(cursor)
    else skip(cursor, tag)
  }
  return key === 'type' ? value : null
}

/** A message of which one field is wanted. */
const textIn = (cursor: Cursor, wanted: number): string => {
  const end = endOf(cursor)
  let found = ''
  while (isWithin(cursor, end)) {
    const tag = varint(cursor)
    if (tag === wanted) found = text(cursor)
    else skip(cursor, tag)
  }
  return found
}

type Cursor = {readonly bytes: Buffer; at: number}

const plain = (field: number): number => field * 8
const lengthDelimited = (field: number): number => field * 8 + 2

/** Whether there is more before the end; no field goes beyond it. */
const isWithin = (cursor: Cursor, end: number): boolean => {
  if (cursor.at > end) throw new RangeError('a field ends outside its message')
  return cursor.at < end
}

/** Exact up to 2^53. */
const varint = (cursor: Cursor): number => {
  let value = 0
  for (let scale = 1; ; scale *= 128) {
    const byte = cursor.bytes[cursor.at++]
    if (byte === undefined) throw new RangeError('the message ends within a field')
    if (byte < 128) return value + byte * scale
    value += (byte - 128) * scale
  }
}

const exactVarint = (cursor: Cursor): bigint => {
  const from = cursor.at
  const value = varint(cursor)
  if (value <= Number.MAX_SAFE_INTEGER) return BigInt(value)
  const septets = [...cursor.bytes.subarray(from, cursor.at)].reverse()
  return septets.reduce((sum, byte) => sum * 128n + BigInt(byte % 128), 0n)
}

/** Where what is length-delimited ends. */
const endOf = (cursor: Cursor): number => {
  const size = varint(cursor)
  if (cursor.at + size > cursor.bytes.length) throw new RangeError('the message ends within a field')
  return cursor.at + size
}

const text = (cursor: Cursor): string => textUpTo(cursor, endOf(cursor))

const textUpTo = (cursor: Cursor, end: number): string => {
  const value = cursor.bytes.toString('utf8', cursor.at, end)
  cursor.at = end
  return value
}

/** Past a field of this tag, whose last three bits say how long it is. */
const skip = (cursor: Cursor, tag: number): void => {
  const wire = tag % 8
  if (wire === 0) varint(cursor)
  else if (wire === 1) cursor.at += 8
  else if (wire === 2) cursor.at = endOf(cursor)
  else if (wire === 5) cursor.at += 4
  else throw new RangeError(`a field of the wire type ${wire}`)
}
