import {z} from 'zod'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import {WrongUsage} from './operator.ts'

/** A time, in milliseconds since 1970, or a position in the log. */
export type Moment = {time: number} | {position: bigint}

const Time = z.union([z.iso.date(), z.iso.datetime({offset: true, local: true})])

/** `2026-11-24`, `2026-11-24T18:00` or with an offset; without one it is UTC. Or a position: digits alone. */
export const parseMoment = (text: string): Moment => {
  if (/^\d{1,18}$/.test(text)) return {position: BigInt(text)}
  const time = text.replace(/(T\d\d:\d\d)(?=Z|[+-]|$)/, '$1:00')
  if (!Time.safeParse(time).success) {
    throw new WrongUsage(
      `${text} is neither a time, like 2026-11-24T18:00:00Z (UTC where it names no other), nor a position in the log`,
    )
  }
  const isLocal = /T[\d:.]+$/.test(time)
  return {time: Date.parse(isLocal ? `${time}Z` : time)}
}

export const timeOf = ({metadata}: LogRecord): number => Date.parse(String(metadata.time))

const isPast = (record: LogRecord, moment: Moment): boolean =>
  'time' in moment ? timeOf(record) > moment.time : record.position > moment.position

/** The log up to a moment, in pages: of a time, all events before the first, in log order, whose time is later. */
export const historyUpTo = async function* (log: EventLog, moment: Moment | null): AsyncGenerator<LogRecord[]> {
  for await (const page of log.readAll()) {
    const end = moment === null ? -1 : page.findIndex((record) => isPast(record, moment))
    if (end !== 0) yield end === -1 ? page : page.slice(0, end)
    if (end !== -1) return
  }
}

/**
 * The position of the newest event of that history; null where it holds none. What lies past `needed` does not matter, and
 * is not read.
 */
export const positionAt = async (log: EventLog, moment: Moment | null, needed: bigint): Promise<bigint | null> => {
  if (moment === null) return needed
  if ('position' in moment) return moment.position
  let last: bigint | null = null
  for await (const page of historyUpTo(log, moment)) {
    last = page.at(-1)!.position
    if (last >= needed) break
  }
  return last
}
