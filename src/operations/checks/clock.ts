import type {Pool} from 'pg'
import type {EventLog} from '../../log/eventLog.ts'
import {type Finding, lasting, ok, problem, warning} from './finding.ts'

const OFF_MS = 2_000
const FAR_OFF_MS = 60_000
const ADVICE = 'Let a time service (chrony, systemd-timesyncd, ntpd) set the clocks of all machines.'

type Clock = {now?: () => number}

/** This machine's clock against the database's: sessions, links in mails and limits go by one, leases by the other. */
export const checkClock = async (pool: Pool, {now = Date.now}: Clock = {}): Promise<Finding[]> => {
  const before = now()
  const {rows} = await pool.query<{ms: number}>('SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS ms')
  const off = rows[0]!.ms - (before + now()) / 2
  const far = Math.abs(off)
  if (far <= OFF_MS) return [ok("This machine's clock and the database's agree.")]
  const text = `The database's clock is ${lasting(far)} ${off > 0 ? 'ahead of' : 'behind'} this machine's.`
  return [far > FAR_OFF_MS ? problem(text, ADVICE) : warning(text, ADVICE)]
}

/** Against the newest event: one from the future was written by a clock that went ahead, or this one is behind. */
export const checkNewest = async (
  log: Pick<EventLog, 'head' | 'readAt'>,
  {now = Date.now}: Clock = {},
): Promise<Finding[]> => {
  const head = await log.head()
  const newest = head === null ? null : await log.readAt(head)
  const time = Date.parse(String(newest?.metadata.time))
  if (newest === null || Number.isNaN(time)) return []
  const ago = now() - time
  if (ago >= -OFF_MS) return [ok(`The newest event was ${lasting(Math.max(0, ago))} ago.`)]
  const text = `The newest event is ${lasting(-ago)} ahead of this machine's clock.`
  return [-ago > FAR_OFF_MS ? problem(text, ADVICE) : warning(text, ADVICE)]
}
