import {Command} from 'commander'
import {Pool} from 'pg'
import type {Config} from '../config.ts'
import {makeSchema} from '../database/schema.ts'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import {readIdentity} from '../log/history.ts'
import {openPostgresLog} from '../log/postgresLog.ts'
import {copyInto, NotACopy} from '../proof/copyInto.ts'
import {beginCopy, endCopy, UNFINISHED_COPY_DDL} from '../proof/unfinishedCopy.ts'
import {type LogKeeper, type Report, reports, WrongUsage, withLog} from './operator.ts'
import {openProgress} from './progress.ts'

/** What can't be copied, in one sentence for the operator. */
export class CopyRefused extends Error {
  override name = 'CopyRefused'
}

export const logCommands = (): Command => {
  const log = new Command('log').description('the log as a whole')
  reports(
    log
      .command('copy')
      .requiredOption('--to <url>', 'postgres://… or esdb://…, there under EVENTSTORE_PREFIX')
      .description(
        'the whole history to another log; run again, it goes on from where it was. The last run wants no server',
      )
      .addHelpText('after', "\nExample:\n  npm run -s community -- log copy --to 'esdb://localhost:2113?tls=false'"),
    ({to}: {to: string}) => {
      const open = targetOf(to)
      return withLog((keeper) => copy(keeper, open))
    },
  )
  return log
}

/** The other log, and the database of the server that will use it. */
type Target = {log: EventLog; pool: Pool; close(): Promise<void>}

const onTrouble = (what: string) => process.stderr.write(`${what}\n`)

const targetOf = (url: string): ((keeper: LogKeeper) => Promise<Target>) => {
  if (/^postgres(ql)?:\/\//.test(url)) return () => openPostgres(url)
  if (/^esdb(\+discover)?:\/\//.test(url)) return ({config, pool}) => openEventStoreDb(config, url, pool)
  throw new WrongUsage(`${url} is no log: --to wants postgres://… or esdb://…`)
}

const openPostgres = async (url: string): Promise<Target> => {
  const pool = new Pool({connectionString: url, application_name: 'community', max: 2})
  pool.on('error', () => {})
  try {
    await makeSchema(pool, [UNFINISHED_COPY_DDL])
    const log = await openPostgresLog({url, onTrouble})
    const close = async () => {
      await log.close()
      await pool.end()
    }
    return {log, pool, close}
  } catch (error) {
    await pool.end()
    throw error
  }
}

const openEventStoreDb = async ({eventStorePrefix}: Config, url: string, pool: Pool): Promise<Target> => {
  const {openEventStoreDbLog} = await import('../log/eventStoreDbLog.ts')
  const log = await openEventStoreDbLog({url, prefix: eventStorePrefix, onTrouble})
  return {log, pool, close: () => log.close()}
}

const copy = async (keeper: LogKeeper, open: (keeper: LogKeeper) => Promise<Target>): Promise<Report> => {
  const head = await keeper.log.head()
  const identity = await readIdentity(keeper.log)
  if (head === null || identity === null) throw new CopyRefused('The log is empty: there is nothing to copy.')
  const target = await open(keeper)
  if (await isItself(keeper, target)) {
    await target.close()
    throw new CopyRefused('--to names the log itself: a copy wants another one.')
  }
  const progress = openProgress('copy', head, 0n)
  let position = 0n
  try {
    const source = upTo(head, keeper.log, (reached) => {
      position = reached
    })
    const copied = await copyInto(target.log, source, {
      begin: () => beginCopy(target.pool, target.log.adapter),
      onPage: (events) => progress.advance(events, position),
    })
    await endCopy(target.pool, target.log.adapter)
    const isServed = await keeper.isServed()
    const keys = await hasKeys(target.pool)
    const {events, appended, root} = copied
    const lines = [`${events} events are in the other log, ${appended} of them new. The root of both is ${root}`]
    if (!keys) lines.push(NO_KEYS)
    if (isServed) lines.push(NOT_THE_LAST)
    return {json: {...copied, identity, keys, last: !isServed}, text: lines.join('\n')}
  } catch (error) {
    if (error instanceof NotACopy) throw new CopyRefused(`The other log is not a copy of this one: ${error.message}.`)
    throw error
  } finally {
    progress.stop()
    await target.close()
  }
}

/** One database has several addresses, but one name in the server process that it is in. */
const isItself = async ({log, pool}: LogKeeper, target: Target): Promise<boolean> => {
  if (log.adapter !== 'postgres' || target.log.adapter !== 'postgres') return false
  const named = async (one: Pool) =>
    (await one.query(`SELECT concat(extract(epoch FROM pg_postmaster_start_time()), ' ', current_database()) AS name`))
      .rows[0].name
  return (await named(pool)) === (await named(target.pool))
}

const hasKeys = async (pool: Pool): Promise<boolean> => {
  const {rows} = await pool.query(`SELECT to_regclass('keys.secrets') IS NOT NULL AS keys`)
  return rows[0].keys && (await pool.query('SELECT FROM keys.secrets LIMIT 1')).rows.length > 0
}

const NO_KEYS =
  'Its database holds no keys: no server starts on it. For that, restore a backup with --keys there first, and copy then.'
const NOT_THE_LAST =
  'A server is running on this log: stop it, and run this once more before one starts on the other log.'

/** What comes while this runs is the next run's. */
const upTo = async function* (
  head: bigint,
  log: EventLog,
  reached: (position: bigint) => void,
): AsyncGenerator<LogRecord[]> {
  for await (const page of log.readAll()) {
    const wanted = page.filter(({position}) => position <= head)
    reached(wanted.at(-1)?.position ?? head)
    yield wanted
    if (wanted.length < page.length) return
  }
}
