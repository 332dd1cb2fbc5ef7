import type {Pool} from 'pg'
import {type Finding, ok, problem, type Seen, warning} from './finding.ts'

const OLDEST_MAJOR = 15
const SLOW_MS = 20

type Facts = {
  version: string
  number: number
  used: number
  max: number
  standby: boolean
  fsync: boolean
  schemas: string[]
}

/**
 * Version, whether it keeps what it says it kept, how fast it answers, and whether there is room for another node. Gives
 * whether a server has made its tables there.
 */
export const checkDatabase = async (pool: Pool): Promise<Seen<boolean>> => {
  const {rows} = await pool.query<Facts>(`
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number,
      (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
      current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS max,
      pg_is_in_recovery() AS standby, current_setting('fsync')::bool AS fsync,
      ARRAY(SELECT nspname::text FROM pg_namespace WHERE nspname IN ('state', 'keys', 'read') ORDER BY 1) AS schemas`)
  const facts = rows[0]!
  const major = Math.floor(facts.number / 10_000)
  const findings: Finding[] = [
    major < OLDEST_MAJOR
      ? problem(`PostgreSQL is ${facts.version}.`, `Upgrade it to ${OLDEST_MAJOR} or newer.`)
      : ok(`PostgreSQL ${facts.version} answers.`),
  ]
  if (facts.standby) {
    findings.push(
      problem('It is a standby, which takes no writes.', 'Set DATABASE_URL to the primary, or promote this one.'),
    )
  }
  if (!facts.fsync) {
    findings.push(
      problem(
        'fsync is off: what was acknowledged is lost when the power goes.',
        `Set fsync = on in PostgreSQL's configuration, and reload it.`,
      ),
    )
  }
  if (facts.schemas.length === 0) findings.push(ok('It is empty: the first start makes its tables.'))
  else if (facts.schemas.length < 3) {
    findings.push(
      problem(
        `Of the schemas keys, read and state there is only ${facts.schemas.join(' and ')}.`,
        'A start makes empty ones; where they held something, restore a backup first.',
      ),
    )
  }
  const latency = await latencyOf(pool)
  const answered = `It answers in ${latency.toFixed(1)} ms.`
  findings.push(
    latency > SLOW_MS
      ? warning(answered, 'Every write waits for it several times: bring the database nearer, or look at its load.')
      : ok(answered),
  )
  const connections = `${facts.used} of ${facts.max} connections are used.`
  findings.push(
    facts.used > facts.max * 0.8
      ? warning(connections, 'Raise max_connections: a node uses up to 37, and none can start where there are too few.')
      : ok(connections),
  )
  return {findings, seen: await isMade(pool)}
}

const isMade = async (pool: Pool): Promise<boolean> => {
  const {rows} = await pool.query<{made: boolean}>(
    `SELECT to_regclass('keys.secrets') IS NOT NULL AND to_regclass('keys.people') IS NOT NULL
      AND to_regclass('state.mails') IS NOT NULL AND to_regclass('read.generations') IS NOT NULL AS made`,
  )
  return rows[0]!.made
}

const latencyOf = async (pool: Pool): Promise<number> => {
  const taken: number[] = []
  for (let n = 0; n < 5; n++) {
    const began = performance.now()
    await pool.query('SELECT 1')
    taken.push(performance.now() - began)
  }
  return taken.toSorted((a, b) => a - b)[2]!
}
