import {Command} from 'commander'
import type {RoomId} from '../domain/room.ts'
import {isFaulty, type LoggedEvent} from '../log/codec.ts'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import {chatStream, type Fold, postFold, roomFold, userFold} from '../streams/streams.ts'
import {parseMoment, positionAt} from './moment.ts'
import {columns, type Operator, type Report, reports, WrongUsage, withOperator} from './operator.ts'
import {printable, styled, told} from './output.ts'

const NEWEST_MESSAGES = 20
/** Events that are opened and folded at once. */
const GATHER_EVENTS = 500

export const auditShow = (): Command =>
  reports(
    new Command('show')
      .argument('<stream>', 'user-<id>, post-<id> or room-<id>')
      .description('one person, post or room, as it is or as it was')
      .option('--as-of <time|position>', 'the moment: a time in UTC, or a position in the log')
      .addHelpText(
        'after',
        '\nExample:\n  npm run -s community -- audit show room-r-k3v2mmq7y5d4c6b2a7zj3h5w2e --as-of 2026-11-24T18:00:00Z',
      ),
    show,
  )

type Shown = {[field: string]: unknown}

const show = (stream: string, {asOf}: {asOf?: string}): Promise<Report> => {
  const [, kind = '', id = ''] = /^(user|post|room)-(.+)$/.exec(stream) ?? []
  if (kind === '') throw new WrongUsage(`${stream} is neither a person, a post nor a room: user-…, post-… or room-…`)
  const moment = asOf === undefined ? null : parseMoment(asOf)
  return withOperator(async (operator) => {
    const {log} = operator
    const streams = kind === 'room' ? [stream, chatStream(id as RoomId)] : [stream]
    const ends = await Promise.all(streams.map((one) => endOf(log, one)))
    const end = ends.reduce((last, one) => (one > last ? one : last))
    const until = (await positionAt(log, moment, end)) ?? -1n
    const shown = await SHOW[kind as keyof typeof SHOW](operator, id, stream, until)
    if (shown === null) {
      const when = ends[0] === -1n ? 'There is no' : 'There was not yet a'
      return {json: {ok: false, stream}, text: `${when} ${printable(stream)}.`, failed: true}
    }
    return {json: {stream, ...shown}, text: inLines({stream, ...shown})}
  })
}

/** The position of a stream's newest event; −1 where there is none. */
const endOf = async (log: EventLog, stream: string): Promise<bigint> => {
  for await (const {position} of log.readStream(stream, {backwards: true, limit: 1})) return position
  return -1n
}

type Seen = {position: string; began: string; changed: string}

/** What a stream's events up to a position make of it, and when the first and the last of them were. */
const foldUntil = async <S, E>(
  {log, codec}: Operator,
  stream: string,
  {initial, evolve}: Fold<S, E>,
  until: bigint,
  see: (event: LoggedEvent) => void = () => {},
): Promise<({state: S} & Seen) | null> => {
  let state = initial
  let seen = null as Seen | null
  let gathered: LogRecord[] = []
  const take = async () => {
    const events: LoggedEvent[] = []
    for (const event of await codec.decode(gathered)) {
      if (isFaulty(event)) throw new Error(`revision ${event.revision} of ${stream} can't be read: ${event.fault}`)
      see(event)
      events.push(event)
      const {time} = event.metadata
      seen = {position: event.position.toString(), began: seen?.began ?? time, changed: time}
    }
    gathered = []
    state = evolve(state, events as E[])
  }
  for await (const record of log.readStream(stream)) {
    if (record.position > until) break
    gathered.push(record)
    if (gathered.length === GATHER_EVENTS) await take()
  }
  await take()
  return seen && {state, ...seen}
}

const showUser = async (operator: Operator, _id: string, stream: string, until: bigint): Promise<Shown | null> => {
  const folded = await foldUntil(operator, stream, userFold, until)
  if (!folded) return null
  const {state: user, position, began, changed} = folded
  if (user.kind === 'none') return {position, kind: 'bot', began, changed}
  if (user.kind === 'erased') return {position, ...user, registeredAt: began, changedAt: changed}
  const {passwordHash, tokens, resets, ...rest} = user
  return {position, ...rest, hasPassword: passwordHash !== null, registeredAt: began, changedAt: changed}
}

const showPost = async (operator: Operator, _id: string, stream: string, until: bigint): Promise<Shown | null> => {
  const folded = await foldUntil(operator, stream, postFold, until)
  return folded && {position: folded.position, ...folded.state, createdAt: folded.began}
}

const showRoom = async (operator: Operator, id: string, stream: string, until: bigint): Promise<Shown | null> => {
  const joinedAt = new Map<string, string>()
  const folded = await foldUntil(operator, stream, roomFold, until, ({type, data, metadata}) => {
    if (type === 'UserJoined') joinedAt.set(data.userId, metadata.time)
    else if (type === 'UserLeft') joinedAt.delete(data.userId)
  })
  if (!folded || folded.state.kind === 'none') return null
  const {members, invitations, ...room} = folded.state
  const messages = await newestMessages(operator, chatStream(id as RoomId), until)
  const newest = messages.at(-1)?.position ?? '0'
  return {
    position: BigInt(newest) > BigInt(folded.position) ? newest : folded.position,
    ...room,
    createdAt: folded.began,
    lastSeq: messages.at(-1)?.seq ?? -1,
    members: [...members].map(([userId, member]) => ({userId, ...member, joinedAt: joinedAt.get(userId)})),
    invitations: [...new Set(invitations.values())].filter((invitee) => invitee !== null),
    messages,
  }
}

const SHOW = {user: showUser, post: showPost, room: showRoom}

/** Found by halves, because a long chat need not be read: in a stream positions grow as revisions do. */
const newestMessages = async ({log, codec}: Operator, stream: string, until: bigint) => {
  let [low, high] = [-1, -1]
  for await (const {revision} of log.readStream(stream, {backwards: true, limit: 1})) high = revision
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    let isWithin = false
    for await (const {position} of log.readStream(stream, {from: middle, limit: 1})) isWithin = position <= until
    if (isWithin) low = middle
    else high = middle - 1
  }
  if (low === -1) return []
  const records: LogRecord[] = []
  for await (const record of log.readStream(stream, {from: low, backwards: true, limit: NEWEST_MESSAGES}))
    records.unshift(record)
  return (await codec.decode(records)).flatMap((event) => {
    if (isFaulty(event) || event.type !== 'MessageSent') return []
    const {seq, sentAt, senderId, username, content} = event.data
    return [{position: event.position.toString(), seq, sentAt, senderId, username, content}]
  })
}

const inLines = (shown: Shown): string => {
  const [lists, fields] = [true, false].map((isList) =>
    Object.entries(shown).filter(([, value]) => (Array.isArray(value) && value.length > 0) === isList),
  )
  const width = Math.max(...fields!.map(([name]) => name.length))
  return [
    ...fields!.map(
      ([name, value]) => `${styled('dim', name.padEnd(width))}  ${Array.isArray(value) ? '-' : told(value)}`,
    ),
    ...lists!.flatMap(([name, items]) => ['', styled('bold', name), table(items as unknown[])]),
  ].join('\n')
}

const table = (items: readonly unknown[]): string =>
  columns(items.map((item) => (typeof item === 'string' ? [told(item)] : Object.values(item as object).map(told))))
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n')
