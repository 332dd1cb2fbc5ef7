import {catalogue} from '../domain/catalogue.ts'
import {SECRETS} from '../domain/event.ts'
import type {IdentityHash} from '../domain/identity.ts'
import type {Person} from '../edge/callers.ts'
import {type Codec, isFaulty} from '../log/codec.ts'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import {identityStream} from '../streams/streams.ts'

/**
 * Everything the log holds about a person, as one JSON document in parts: who they are, and each event that they caused or
 * that names them, oldest first, with what is theirs in it in clear. Secrets (password and token hashes) stay out, and
 * what an identity was to somebody who was erased. Reads the whole log: an index of who is in which event would cost every
 * write for what few ask once.
 */
export const exportPerson = async function* (
  {log, codec}: {log: EventLog; codec: Codec},
  {userId, username, provider, email, identity}: Person,
): AsyncGenerator<string> {
  const since = identity === null ? 0n : await lastReleased(log, identity)
  yield `{"user":${JSON.stringify({id: userId, username, provider, email})},"events":[`
  let separator = '\n'
  for await (const records of log.readAll()) {
    const own = records.filter((record) => isAbout(record, userId, record.position > since ? identity : null))
    for (const event of await codec.decode(own)) {
      if (isFaulty(event)) continue
      const {id, type, stream, revision, position, metadata} = event
      const about = {
        id,
        type,
        stream,
        revision,
        position: position.toString(),
        time: metadata.time,
        command: metadata.command,
      }
      yield `${separator}${JSON.stringify({...about, data: visibleTo({userId, identity}, event.type, event.data)})}`
      separator = ',\n'
    }
  }
  yield '\n]}\n'
}

/** Up to there the identity was another person's. */
const lastReleased = async (log: EventLog, identity: IdentityHash): Promise<bigint> => {
  let last = 0n
  for await (const {type, position} of log.readStream(identityStream(identity))) {
    if (type === 'IdentityReleased') last = position
  }
  return last
}

const isAbout = ({data, metadata}: LogRecord, userId: string, identity: string | null): boolean =>
  metadata.actor === userId ||
  Object.values(data).some((value) => value === userId || (identity !== null && value === identity))

/** The event's data without secrets, and without what is personal to somebody else in it, or tells who somebody else is. */
const visibleTo = (
  {userId, identity}: {userId: string; identity: string | null},
  type: string,
  data: object,
): object => {
  const values = data as {[field: string]: unknown}
  const isInvitation = type === 'UserInvited' && values.invitee !== identity
  const others = new Set<string>(isInvitation ? ['invitee', 'standing'] : [])
  for (const [subject, fields] of Object.entries(catalogue.get(type)!.personal)) {
    if (values[subject] !== userId) for (const field of fields) others.add(field)
  }
  return Object.fromEntries(Object.entries(values).filter(([field]) => !SECRETS.has(field) && !others.has(field)))
}
