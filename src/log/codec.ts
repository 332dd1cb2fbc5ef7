import {z} from 'zod'
import {catalogue, type DomainEvent} from '../domain/catalogue.ts'
import type {Json, JsonObject, LogRecord, NewRecord} from './eventLog.ts'

/**
 * Who did what, when, and because of what. `time` is ISO 8601 in UTC; `actor` a user id, or null where nobody was signed
 * in; `correlationId` is the request that began the chain, `causationId` the event that led to this one.
 */
const EventMetadata = z.object({
  version: z.int().positive(),
  time: z.iso.datetime(),
  actor: z.string().nullable(),
  command: z.string(),
  correlationId: z.string(),
  causationId: z.string().nullable(),
})
export type EventMetadata = z.infer<typeof EventMetadata>

type Address = {id: string; stream: string; revision: number; position: bigint}
/** An event that was read, decrypted, lifted to its newest version and found valid. */
export type LoggedEvent = DomainEvent & Address & {metadata: EventMetadata}
/** An event that could not be: `fault` says why, for people. A table that needs its type stops there; others pass over it. */
export type FaultyEvent = {type: string; fault: string} & Address

export const isFaulty = (event: LoggedEvent | FaultyEvent): event is FaultyEvent => 'fault' in event

/** "event <id> at position 12, revision 3 of room-…" */
export const addressOf = ({id, stream, revision, position}: Address): string =>
  `event ${id} at position ${position} (revision ${revision} of ${stream})`

/** The one place where an event becomes what the log stores, and back. */
export type Codec = {
  encode(event: {id: string; event: DomainEvent; metadata: Omit<EventMetadata, 'version'>}): Promise<NewRecord>
  /** Same order, same number. Never throws for what it reads: what can't be read is a FaultyEvent. */
  decode(records: readonly LogRecord[]): Promise<(LoggedEvent | FaultyEvent)[]>
}

export const openCodec = (): Codec => ({
  encode: async ({id, event, metadata}) => {
    const version = catalogue.get(event.type)!.version
    const record = {id, type: event.type, data: event.data as JsonObject, metadata: {version, ...metadata}}
    assertStorable(record.data)
    assertStorable(record.metadata)
    return record
  },
  decode: async (records) => records.map(read),
})

const read = (record: LogRecord): LoggedEvent | FaultyEvent => {
  const {id, stream, revision, position, type} = record
  const fault = (why: string): FaultyEvent => ({type, fault: why, id, stream, revision, position})
  const known = catalogue.get(type)
  if (!known) return fault(`the type ${type} is not known`)
  const metadata = EventMetadata.safeParse(record.metadata)
  if (!metadata.success) return fault(`its metadata is not valid: ${z.prettifyError(metadata.error)}`)
  const {version} = metadata.data
  if (version > known.version) return fault(`version ${version} of ${type} is not known`)
  const data = known.data.safeParse(known.upcast(record.data, version))
  if (!data.success) return fault(`its data is not valid: ${z.prettifyError(data.error)}`)
  return {type, data: data.data, metadata: metadata.data, id, stream, revision, position} as LoggedEvent
}

/** JSON allows what PostgreSQL and other readers do not (RFC 8259, section 8.2), so it is stopped before it is written. */
const assertStorable = (value: Json): void => {
  if (typeof value === 'string') {
    if (value.includes('\0') || !value.isWellFormed())
      throw new TypeError('an event holds NUL or half a surrogate pair')
  } else if (typeof value === 'number') {
    if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) {
      throw new TypeError(`an event holds the number ${value}, which JSON does not keep exactly`)
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, inner] of Object.entries(value)) {
      assertStorable(key)
      assertStorable(inner)
    }
  }
}
