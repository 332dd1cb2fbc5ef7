import {setImmediate as turn} from 'node:timers/promises'
import {z} from 'zod'
import {catalogue, type DomainEvent} from '../domain/catalogue.ts'
import {ERASED, type EventType} from '../domain/event.ts'
import type {PersonKeys} from '../keys/personKeys.ts'
import {seal, unsealText} from '../keys/seal.ts'
import type {Json, JsonObject, LogRecord, NewRecord} from './eventLog.ts'

/**
 * Who did what, when, and because of what. `time` is ISO 8601 in UTC; `actor` a user id, `operator` at the command line, or
 * null where nobody was signed in; `correlationId` is the request that began the chain, `causationId` the event that led to this one.
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

/** Events that are opened without a break. */
const OPENED_AT_ONCE = 128

/** The one place where an event becomes what the log stores, and back. */
export type Codec = {
  encode(event: {id: string; event: DomainEvent; metadata: Omit<EventMetadata, 'version'>}): Promise<NewRecord>
  /** Same order, same number. Never throws for what it reads: what can't be read is a FaultyEvent. */
  decode(records: readonly LogRecord[]): Promise<(LoggedEvent | FaultyEvent)[]>
}

/**
 * Personal fields are sealed, one operation a person and event, under that person's key and bound to the event's id, its
 * type and the person: `data.sealed` holds, by the field with the person's id, base64 of nonce, ciphertext and tag.
 */
export const openCodec = (personKeys: Pick<PersonKeys, 'provide' | 'find' | 'forget'>): Codec => ({
  encode: async ({id, event, metadata}) => {
    const known = catalogue.get(event.type)!
    const whole = event.data as JsonObject
    const meta = {version: known.version, ...metadata}
    assertStorable(whole)
    assertStorable(meta)
    const people = peopleIn(known, whole)
    if (people.length === 0) return {id, type: event.type, data: {...whole}, metadata: meta}
    const keys = await personKeys.provide(people.map(({person}) => person))
    const sealed: JsonObject = {}
    for (const {subject, person} of people) {
      const key = keys.get(person)
      if (!key) continue
      const personal = JSON.stringify(only(whole, (field) => known.personal[subject]!.includes(field)))
      sealed[subject] = seal(key, Buffer.from(personal), boundTo(id, event.type, person)).toString('base64')
    }
    const plain = only(whole, (field) => !people.some(({subject}) => known.personal[subject]!.includes(field)))
    return {id, type: event.type, data: {...plain, sealed}, metadata: meta}
  },
  decode: async (records) => {
    const wanted = new Set<string>()
    for (const {type, data} of records) {
      const known = catalogue.get(type)
      if (known) for (const {person} of peopleIn(known, data)) wanted.add(person)
      // The key was destroyed before this event was written, so from here on nothing is read with a remembered one.
      if (type === 'UserErased' && typeof data?.userId === 'string') personKeys.forget(data.userId)
    }
    const keys = wanted.size > 0 ? await personKeys.find([...wanted]) : new Map<string, Buffer | null>()
    const events: (LoggedEvent | FaultyEvent)[] = []
    for (const record of records) {
      events.push(read(record, keys))
      // In between, what is under way to and from the database goes on.
      if (events.length % OPENED_AT_ONCE === 0) await turn()
    }
    return events
  },
})

const only = (data: JsonObject, isWanted: (field: string) => boolean): JsonObject => {
  const some: JsonObject = {}
  for (const field in data) if (isWanted(field)) some[field] = data[field]!
  return some
}

const boundTo = (id: string, type: string, person: string): string => `${id} ${type} ${person}`

/** The people that an event's personal fields are about, by the field that holds their id. */
const peopleIn = ({personal}: EventType, data: JsonObject | null): {subject: string; person: string}[] => {
  const people: {subject: string; person: string}[] = []
  for (const subject in personal) {
    const person = data?.[subject]
    if (typeof person === 'string') people.push({subject, person})
  }
  return people
}

const open = (
  {id, type, data}: LogRecord,
  known: EventType,
  keys: ReadonlyMap<string, Buffer | null>,
): JsonObject | {fault: string} => {
  const people = peopleIn(known, data)
  if (people.length === 0) return data
  const sealed = data.sealed as {[subject: string]: unknown} | undefined
  // With what is sealed still in it: the schema takes from it what it knows.
  const whole = {...data}
  for (const {subject, person} of people) {
    const key = keys.get(person)
    const box = sealed?.[subject]
    if (key && typeof box === 'string') {
      const opened = unsealText(key, box, boundTo(id, type, person))
      if (opened === null) return {fault: `what is sealed for ${person} was not sealed for this event`}
      Object.assign(whole, JSON.parse(opened))
    } else {
      for (const field of known.personal[subject]!) whole[field] = isList(known, field) ? [] : ERASED
    }
  }
  return whole
}

const isList = ({data}: EventType, field: string): boolean => data.shape[field] instanceof z.ZodArray

const read = (record: LogRecord, keys: ReadonlyMap<string, Buffer | null>): LoggedEvent | FaultyEvent => {
  const {id, stream, revision, position, type} = record
  // In one line: it stands in tables and labels.
  const fault = (why: string): FaultyEvent => ({type, fault: why.replace(/\s+/g, ' '), id, stream, revision, position})
  const known = catalogue.get(type)
  if (!known) return fault(`the type ${type} is not known`)
  const metadata = EventMetadata.safeParse(record.metadata)
  if (!metadata.success) return fault(`its metadata is not valid: ${z.prettifyError(metadata.error)}`)
  const {version} = metadata.data
  if (version > known.version) return fault(`version ${version} of ${type} is not known`)
  if (typeof record.data !== 'object' || record.data === null) return fault('its data is no object')
  const opened = open(record, known, keys)
  if (typeof opened.fault === 'string') return fault(opened.fault)
  const data = known.data.safeParse(known.upcast(opened, version))
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
    if (Array.isArray(value)) {
      for (const inner of value) assertStorable(inner)
      return
    }
    for (const key in value) {
      assertStorable(key)
      assertStorable(value[key]!)
    }
  }
}
