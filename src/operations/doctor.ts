import {Command} from 'commander'
import {Pool} from 'pg'
import {type Config, ConfigError, readConfig} from '../config.ts'
import {hasEmbeddedPostgres} from '../database/embeddedPostgres.ts'
import {within} from '../database/reconnect.ts'
import {openLog} from '../foundation.ts'
import {findSecrets, type Secrets} from '../keys/secrets.ts'
import {checkBacklog} from './checks/backlog.ts'
import {checkClock, checkNewest} from './checks/clock.ts'
import {checkConfiguration} from './checks/configuration.ts'
import {checkDatabase} from './checks/database.ts'
import {checkFolder} from './checks/disk.ts'
import {counted, type Finding, ok, problem, reasonOf, type Seen} from './checks/finding.ts'
import {checkKeys} from './checks/keys.ts'
import {checkLog} from './checks/log.ts'
import {checkMail, checkMailQueue} from './checks/mail.ts'
import {checkStorage} from './checks/storage.ts'
import {checkTables} from './checks/tables.ts'
import {checkEventStoreDb, checkVersions} from './checks/versions.ts'
import {openDatabase, type Report, reports} from './operator.ts'

/** Nothing that is looked at may take longer: what hangs is a finding as well. */
const CHECK_MS = 20_000

/** In the order in which they are told: what others depend on comes first. */
const CHECKS = [
  'configuration',
  'versions',
  'disk',
  'database',
  'clock',
  'keys',
  'log',
  'tables',
  'mail',
  'storage',
  'backlog',
] as const
type Check = (typeof CHECKS)[number]
type Examined = {check: Check} & Finding

/**
 * Runs one check, and gives what it saw that others go on from. What throws, or takes too long, is a problem that was found,
 * and keeps nobody from the rest.
 */
type Look = <T>(check: Check, work: () => Promise<Finding[] | Seen<T>>, advice: string) => Promise<T | null>

const DATABASE = 'Start PostgreSQL, or correct DATABASE_URL; what the embedded one says is in DATA_DIR/postgres.log.'
const LOG = 'Start EventStoreDB, or correct EVENTSTORE_URL; its user must be one who may read $all.'

export const doctorCommand = (): Command =>
  reports(
    new Command('doctor')
      .description('check all that the server stands on, and say what to do; changes nothing')
      .addHelpText('after', '\nExample:\n  npm run -s community -- doctor --json'),
    async () => reportOf(await examine(() => readConfig(process.env))),
  )

const examine = async (configure: () => Config): Promise<Examined[]> => {
  const findings: Examined[] = []
  const look: Look = async (check, work, advice) => {
    try {
      const result = await within(CHECK_MS, work(), () => new Error('it took too long'))
      const seen = Array.isArray(result) ? {findings: result, seen: null} : result
      findings.push(...seen.findings.map((one) => ({check, ...one})))
      return seen.seen
    } catch (error) {
      const isWrong = error instanceof ConfigError
      const found = isWrong ? `${error.message}.` : `It can't be looked at: ${reasonOf(error)}.`
      findings.push({check, ...problem(found, isWrong ? 'Set it right, or unset it; then run this again.' : advice)})
      return null
    }
  }
  await look('versions', checkVersions, 'Run: npm ci')
  const configured = await look('configuration', () => readConfiguration(configure), 'Look at DATA_DIR.')
  if (configured) await examineParts(configured, look)
  const hidden = configured ? secretsIn(configured.config) : []
  return CHECKS.flatMap((check) =>
    findings.filter((one) => one.check === check).map((one) => ({...one, found: without(hidden, one.found)})),
  )
}

type Configured = {config: Config; secrets: Secrets | null}

const readConfiguration = async (configure: () => Config): Promise<Seen<Configured>> => {
  const config = configure()
  const secrets = await findSecrets(config)
  return {findings: await checkConfiguration(config, secrets), seen: {config, secrets}}
}

const examineParts = async (configured: Configured, look: Look): Promise<void> => {
  const {dataDir, mail, uploads} = configured.config
  await Promise.all([
    look('disk', () => checkFolder('DATA_DIR', dataDir), 'Look at DATA_DIR.'),
    look('mail', () => checkMail(mail), 'Look at SMTP_URL.'),
    look('storage', () => checkStorage(uploads), 'Look at OSS_* and UPLOAD_DIR.'),
    examineDatabase(configured, look),
  ])
}

const examineDatabase = async (configured: Configured, look: Look): Promise<void> => {
  const {config} = configured
  if (config.databaseUrl === null && !hasEmbeddedPostgres(config)) {
    await look('database', async () => [ok('There is none in DATA_DIR yet: the first start makes it.')], DATABASE)
    return
  }
  const database = await look('database', async () => ({findings: [], seen: await openDatabase(config)}), DATABASE)
  if (!database) return
  const pool = openReader(database.url)
  try {
    const isMade = await look('database', () => checkDatabase(pool), DATABASE)
    if (isMade !== null) await look('clock', () => checkClock(pool), DATABASE)
    if (isMade) {
      await look('mail', () => checkMailQueue(pool), DATABASE)
      await look('backlog', () => checkBacklog(pool), DATABASE)
    }
    await examineLog(configured, {pool, url: database.url, isMade: isMade === true}, look)
  } finally {
    await pool.end()
    await database.close()
  }
}

/** The log needs no database of ours where it is EventStoreDB: it is looked at also where that does not answer. */
const examineLog = async (
  {config, secrets}: Configured,
  {pool, url, isMade}: {pool: Pool; url: string; isMade: boolean},
  look: Look,
): Promise<void> => {
  const keys = isMade ? await look('keys', () => checkKeys(pool, secrets), DATABASE) : null
  if (!isMade && !config.eventStore) return
  const advice = config.eventStore ? LOG : DATABASE
  const log = await look(
    'log',
    async () => ({findings: [], seen: await openLog(config, url, () => {}, {makesSchema: false})}),
    advice,
  )
  if (!log) return
  try {
    const history = await look('log', () => checkLog(log, {pool, keys}), advice)
    if (!history) return
    const {eventStore} = config
    if (eventStore) await look('versions', () => checkEventStoreDb(eventStore.url), LOG)
    await look('clock', () => checkNewest(log), advice)
    if (isMade) await look('tables', () => checkTables(pool, log, history.identity), advice)
  } finally {
    await log.close()
  }
}

/** It can't write even by mistake. */
const openReader = (url: string): Pool => {
  const pool = new Pool({
    connectionString: url,
    application_name: 'community doctor',
    max: 3,
    connectionTimeoutMillis: 3_000,
    query_timeout: 5_000,
    options: '-c default_transaction_read_only=on',
  })
  pool.on('error', () => {})
  return pool
}

/** What must not be told to whoever reads a report: each as it is, and as it stands in a URL. */
const secretsIn = (config: Config): string[] => {
  const inUrls = [config.databaseUrl, config.eventStore?.url, 'dir' in config.mail ? null : config.mail.smtpUrl]
  const passwords = inUrls.map((url) => /^[^/]*\/\/[^/@]*?:(.*)@/.exec(url ?? '')?.[1])
  const given = [
    config.sessionSecret,
    config.masterKey,
    config.chatBotToken,
    config.discord?.clientSecret,
    config.reddit?.clientSecret,
    config.uploads.oss?.accessKeySecret,
    ...passwords,
    ...passwords.map((password) => password && decodeURIComponent(password)),
  ]
  return given.filter((secret) => secret !== null && secret !== undefined && secret !== '') as string[]
}

const without = (secrets: readonly string[], text: string): string =>
  secrets.reduce((rest, secret) => rest.replaceAll(secret, '…'), text)

const reportOf = (findings: readonly Examined[]): Report => {
  const count = (verdict: Finding['verdict']) => findings.filter((one) => one.verdict === verdict).length
  const [problems, warnings] = [count('problem'), count('warning')]
  const lines = findings.flatMap(({check, verdict, found, advice}) => [
    `${verdict.padEnd(7)}  ${check.padEnd(13)}  ${found}`,
    ...(advice === null ? [] : [`${' '.repeat(24)}→ ${advice}`]),
  ])
  const sum =
    problems + warnings === 0
      ? 'All is well.'
      : `${counted(problems, 'problem')}, ${counted(warnings, 'warning')}. A warning may be meant so; a problem is not.`
  return {
    json: {ok: problems === 0, problems, warnings, findings},
    text: [...lines, '', sum].join('\n'),
    failed: problems > 0,
  }
}
