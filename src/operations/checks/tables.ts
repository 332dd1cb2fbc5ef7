import type {Pool} from 'pg'
import type {EventLog} from '../../log/eventLog.ts'
import {type Generation, isOfLog, readGenerations} from '../../projections/generations.ts'
import {tables} from '../../projections/tables.ts'
import {type Finding, lasting, ok, problem, warning} from './finding.ts'

/** A table that is fed holds an event within milliseconds. */
const BEHIND_MS = 5_000

type Seen = {log: EventLog; head: bigint | null; identity: string | null; isFed: boolean; now: number}

/** Who feeds the read tables, and how far each is. */
export const checkTables = async (pool: Pool, log: EventLog, identity: string | null): Promise<Finding[]> => {
  const head = await log.head()
  const generations = await readGenerations(pool, tables)
  const {rows} = await pool.query<{view: string}>('SELECT view FROM read.leases WHERE expires_at > clock_timestamp()')
  const fed = new Set(rows.map(({view}) => view))
  const findings = [whoFeeds(tables.filter(({view}) => fed.has(view)).length)]
  for (const table of tables) {
    const own = generations.filter((one) => one.table === table)
    const shown = own.find(({state}) => state === 'live') ?? own.find(({state}) => state === 'building')
    const seen = {log, head, identity, isFed: fed.has(table.view), now: Date.now()}
    findings.push(shown ? await checkShown(shown, seen) : notMade(table.name))
    for (const one of own) if (one !== shown && one.fault !== null) findings.push(standsStill(one))
  }
  return findings
}

const whoFeeds = (fed: number): Finding => {
  if (fed === tables.length) return ok(`A server runs and feeds all ${fed} read tables.`)
  return fed === 0
    ? warning('No server feeds the read tables now.', 'Start one, unless it is stopped on purpose: npm start')
    : warning(
        `Of ${tables.length} read tables only ${fed} are fed.`,
        'Start a server of this version: the ones that run are of another.',
      )
}

const notMade = (name: string): Finding =>
  warning(`${name} is not there yet.`, 'Start a server: it makes the table from the log.')

const standsStill = ({table, generation, state, fault}: Generation): Finding =>
  warning(
    `Generation ${generation} of ${table.name} (${state}) stopped at ${inOneLine(fault)}.`,
    `What people read does not come from it. Run: npm run -s community -- projections rebuild ${table.name}`,
  )

/** What is wrong with an event's data is told in a line for each field. */
const inOneLine = (fault: string | null): string => (fault ?? '').replace(/\s+/g, ' ')

const checkShown = async (shown: Generation, seen: Seen): Promise<Finding> => {
  const {table, fault, state, position, generation} = shown
  const {name} = table
  if (fault !== null) {
    return problem(
      `${name} stopped at ${inOneLine(fault)}.`,
      'Mend the cause, usually an older version of the server beside a newer one, and restart: the table goes on from there.',
    )
  }
  // Where the log's identity could not be told, the event at the checkpoint tells enough.
  if (!(await isOfLog(seen.log, seen.identity ?? shown.logIdentity, shown))) {
    return problem(
      `${name} was made from another history than the log's.`,
      'Start a server, or restart the one that runs: it notices and makes the table afresh.',
    )
  }
  if (state === 'building') {
    return warning(
      `${name} is being made from the log, and is at ${position ?? 'its beginning'}.`,
      'Wait, with a server running; "projections list" shows how far it is.',
    )
  }
  const late = await lateness(position, seen)
  if (late === 0) return ok(`${name}: generation ${generation} holds all that the log holds.`)
  const text = `${name} does not hold what was written ${lasting(late)} ago and after.`
  if (late < BEHIND_MS) return ok(text)
  return warning(
    text,
    seen.isFed ? 'Look at the load of the database and of the node that feeds it.' : 'Start a server.',
  )
}

/** How long ago the oldest event was written that the table does not hold; 0: it holds all. */
const lateness = async (position: bigint | null, {log, head, now}: Seen): Promise<number> => {
  if (head === null || (position ?? -1n) >= head) return 0
  for await (const [first] of log.readAll({after: position, limit: 1}))
    return Math.max(1, now - Date.parse(String(first?.metadata.time)))
  return 0
}
