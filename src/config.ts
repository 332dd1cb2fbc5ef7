import {chmod, mkdir} from 'node:fs/promises'
import {isIPv4, isIPv6} from 'node:net'
import {dirname, join, resolve} from 'node:path'
import {z} from 'zod'

type Origin = string

type DeepReadonly<T> = T extends object ? {readonly [K in keyof T]: DeepReadonly<T[K]>} : T

/** What the environment says. Paths are absolute, origins have no trailing slash, `null` is "not configured". */
export type Config = DeepReadonly<{
  port: number
  host: string
  baseUrl: Origin
  dataDir: string
  /** null: the embedded PostgreSQL in `dataDir`. */
  databaseUrl: string | null
  /** null: the log is kept in Postgres. */
  eventStore: {url: string; prefix: string} | null
  /** Also where the log is not there yet: what is copied to EventStoreDB bears it. */
  eventStorePrefix: string
  /** null, like `masterKey` (32 bytes in base64): made once and kept in `dataDir`; see keys/secrets.ts. */
  sessionSecret: string | null
  masterKey: string | null
  /** `dir`: mails become `.eml` files there. */
  mail: {smtpUrl: string; from: string} | {dir: string; from: string}
  discord: {clientId: string; clientSecret: string; origin: Origin} | null
  reddit: {clientId: string; clientSecret: string; origin: Origin; apiOrigin: Origin} | null
  uploads: {
    /** New files go here where it is not null, else into `dir`; both null: no uploads. */
    oss: {region: string; bucket: string; accessKeyId: string; accessKeySecret: string; endpoint: Origin} | null
    dir: string | null
  }
  /** null: no bots. */
  chatBotToken: string | null
  corsOrigins: Origin[]
  /** Goes into Express's `trust proxy` as it is. */
  trustProxy: boolean | number | string[]
  /** 0: no limit. Mails count in 24 hours. */
  limits: {mailsPerIp: number; loginsPerMinute: number; writesPerMinute: number; messagesPerMinute: number}
  bcryptCost: number
  logLevel: (typeof LOG_LEVELS)[number]
  postsUnpagedMax: number
}>

/** One line for a person: the variable, and what would be right. Never holds a value, which might be a secret. */
export class ConfigError extends Error {
  override name = 'ConfigError'
}

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

const text = (must: string, isRight: (value: string) => boolean) => z.string().refine(isRight, `must be ${must}`)

const word = (what: string) => text(`${what}, without spaces`, (value) => /^[\x21-\x7e]+$/.test(value))

const integer = (min: number, max: number) =>
  text(
    `a whole number from ${min} to ${max}`,
    (value) => /^\d{1,9}$/.test(value) && Number(value) >= min && Number(value) <= max,
  ).transform(Number)

const toOrigin = (value: string): Origin | null => {
  const url = URL.parse(value)
  if (!url || !/^https?:$/.test(url.protocol)) return null
  // With a path, a query or a user it is more than an origin, and would be cut short silently; a * matches nothing.
  return url.href === `${url.origin}/` && !/[?#*\s]/.test(value) ? url.origin : null
}

const ORIGIN = 'an http or https origin such as https://community.example.org, without a path'

const origin = text(ORIGIN, (value) => toOrigin(value) !== null).transform((value) => toOrigin(value)!)

const url = (scheme: RegExp, example: string) =>
  text(`a URL such as ${example}`, (value) => scheme.test(value) && Boolean(URL.parse(value)))

const list = (value: string) => value.split(',').map((item) => item.trim())

const isAddressRange = (item: string): boolean => {
  const [address = '', bits = '1', ...rest] = item.split('/')
  if (rest.length > 0 || !/^\d{1,3}$/.test(bits) || Number(bits) < 1) return false
  return (isIPv4(address) && Number(bits) <= 32) || (isIPv6(address) && !address.includes('%') && Number(bits) <= 128)
}

const isTrustProxy = (value: string): boolean =>
  /^(true|false|off|\d{1,2})$/.test(value) ||
  list(value).every((item) => ['loopback', 'linklocal', 'uniquelocal'].includes(item) || isAddressRange(item))

const toTrustProxy = (value: string): boolean | number | string[] => {
  if (/^(true|false|off)$/.test(value)) return value === 'true'
  return /^\d+$/.test(value) ? Number(value) : list(value)
}

const ADDRESS = /^[^\s<>@,;:"]+@[^\s<>@,;:"]+$/
const NAMED_ADDRESS = /^[^\p{Cc}<>@,;:"]*<([^<>]+)>$/u

/** Every variable that the server reads; the table of API.md. */
const environment = z.object({
  NODE_ENV: z.string().optional(),
  PORT: integer(0, 65_535).default(3000),
  HOST: word('an address or host name to listen at, such as 127.0.0.1 or ::').default('127.0.0.1'),
  BASE_URL: origin.optional(),
  DATA_DIR: z.string().default('.data'),
  // As libpq reads it: a server on a Unix socket has no host but in the query, and URL.parse wants one.
  DATABASE_URL: text(
    'a URL such as postgres://user:password@host:5432/database',
    (value) => /^postgres(ql)?:\/\//.test(value) && Boolean(URL.parse(value.replace('@/', '@localhost/'))),
  ).optional(),
  // Not a URL to URL.parse where it names several hosts; the client itself reads it.
  EVENTSTORE_URL: text('a connection string such as esdb://user:password@host:2113', (value) =>
    /^esdb(\+discover)?:\/\/[^\s/?]+[^\s]*$/.test(value),
  ).optional(),
  EVENTSTORE_PREFIX: text('1 to 64 letters, digits, dots, colons, hyphens or underscores', (value) =>
    /^[\w.:-]{1,64}$/.test(value),
  ).default('community.'),
  SESSION_SECRET: text('at least 32 characters', (value) => [...value].length >= 32).optional(),
  MASTER_KEY: text('32 bytes in base64, as "openssl rand -base64 32" prints them', (value) => isKey(value)).optional(),
  SMTP_URL: url(/^smtps?:\/\/[^/]/, 'smtps://user:password@mail.example.org').optional(),
  MAIL_FROM: text('an address such as community@example.org or Community <community@example.org>', (value) =>
    ADDRESS.test(NAMED_ADDRESS.exec(value)?.[1] ?? value),
  ).optional(),
  DISCORD_CLIENT_ID: word("Discord's client id").optional(),
  DISCORD_CLIENT_SECRET: word("Discord's client secret").optional(),
  DISCORD_ORIGIN: origin.default('https://discord.com'),
  REDDIT_CLIENT_ID: word("Reddit's client id").optional(),
  REDDIT_CLIENT_SECRET: word("Reddit's client secret").optional(),
  REDDIT_ORIGIN: origin.default('https://www.reddit.com'),
  REDDIT_API_ORIGIN: origin.default('https://oauth.reddit.com'),
  OSS_REGION: word('a region such as oss-eu-central-1').optional(),
  OSS_BUCKET: word("the bucket's name").optional(),
  OSS_ACCESS_KEY_ID: word("the access key's id").optional(),
  OSS_ACCESS_KEY_SECRET: word("the access key's secret").optional(),
  OSS_ENDPOINT: origin.optional(),
  UPLOAD_DIR: z.string().optional(),
  CHAT_BOT_TOKEN: word('a token that fits into a header').optional(),
  CORS_ORIGINS: text(`a comma-separated list, each item ${ORIGIN}`, (value) =>
    list(value).every((item) => toOrigin(item) !== null),
  )
    .transform((value) => list(value).map((item) => toOrigin(item)!))
    .default([]),
  TRUST_PROXY: text(
    'off, true, false, a number of proxies, or a comma-separated list of addresses, ranges such as 10.0.0.0/8, loopback, linklocal or uniquelocal',
    isTrustProxy,
  )
    .transform(toTrustProxy)
    .default(false),
  MAILS_PER_IP: integer(0, 1_000_000).default(5),
  LOGINS_PER_MINUTE: integer(0, 1_000_000).default(20),
  WRITES_PER_MINUTE: integer(0, 1_000_000).default(120),
  MESSAGES_PER_MINUTE: integer(0, 1_000_000).default(120),
  BCRYPT_COST: integer(4, 15).default(12),
  LOG_LEVEL: z.enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(', ')}`).default('info'),
  POSTS_UNPAGED_MAX: integer(1, 1_000_000).default(10_000),
})

export const CONFIG_NAMES: readonly string[] = Object.keys(environment.shape)

const isKey = (value: string): boolean => {
  const bytes = Buffer.from(value, 'base64')
  return bytes.length === 32 && bytes.toString('base64') === value
}

type Environment = z.output<typeof environment>

const parse = (env: NodeJS.ProcessEnv): Environment => {
  const set = CONFIG_NAMES.filter((name) => env[name] !== undefined && env[name] !== '')
  const parsed = environment.safeParse(Object.fromEntries(set.map((name) => [name, env[name]])))
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]!
  throw new ConfigError(`${issue.path.join('.')} ${issue.message}`)
}

/** The values of the variables where all are set, null where none is; else the error names the first that is missing. */
const allOrNone = <Name extends keyof Environment>(
  vars: Environment,
  names: readonly Name[],
): {[N in Name]: NonNullable<Environment[N]>} | null => {
  const there = names.find((name) => vars[name] !== undefined)
  if (!there) return null
  const missing = names.find((name) => vars[name] === undefined)
  if (missing)
    throw new ConfigError(`${missing} must be set where ${there} is: set all of ${names.join(', ')}, or none`)
  return vars as {[N in Name]: NonNullable<Environment[N]>}
}

const requireSecrets = (vars: Environment): void => {
  const because =
    (vars.NODE_ENV === 'production' && 'NODE_ENV=production') ||
    (vars.DATABASE_URL && 'DATABASE_URL') ||
    (vars.EVENTSTORE_URL && 'EVENTSTORE_URL')
  if (!because) return
  for (const [name, size] of [
    ['SESSION_SECRET', 'at least 32 characters, for example from "openssl rand -base64 48"'],
    ['MASTER_KEY', '32 bytes in base64, for example from "openssl rand -base64 32"'],
  ] as const) {
    if (vars[name] === undefined) throw new ConfigError(`${name} must be set with ${because}: ${size}`)
  }
}

const deepFreeze = <T>(value: T): T => {
  if (typeof value !== 'object' || value === null) return value
  for (const part of Object.values(value)) deepFreeze(part)
  return Object.freeze(value)
}

/** Reads the environment; an empty string counts as unset. Throws {@link ConfigError} at the first wrong value. */
export const readConfig = (env: NodeJS.ProcessEnv): Config => {
  const vars = parse(env)
  requireSecrets(vars)
  const dataDir = resolve(vars.DATA_DIR)
  const baseUrl = vars.BASE_URL ?? `http://localhost:${vars.PORT}`
  const from = vars.MAIL_FROM ?? `no-reply@${new URL(baseUrl).hostname}`
  const discord = allOrNone(vars, ['DISCORD_CLIENT_ID', 'DISCORD_CLIENT_SECRET'])
  const reddit = allOrNone(vars, ['REDDIT_CLIENT_ID', 'REDDIT_CLIENT_SECRET'])
  const oss = allOrNone(vars, [
    'OSS_REGION',
    'OSS_BUCKET',
    'OSS_ACCESS_KEY_ID',
    'OSS_ACCESS_KEY_SECRET',
    'OSS_ENDPOINT',
  ])
  const uploadDir = vars.UPLOAD_DIR ?? (vars.DATABASE_URL ? null : join(dataDir, 'uploads'))
  return deepFreeze<Config>({
    port: vars.PORT,
    host: vars.HOST,
    baseUrl,
    dataDir,
    databaseUrl: vars.DATABASE_URL ?? null,
    eventStorePrefix: vars.EVENTSTORE_PREFIX,
    eventStore: vars.EVENTSTORE_URL ? {url: vars.EVENTSTORE_URL, prefix: vars.EVENTSTORE_PREFIX} : null,
    sessionSecret: vars.SESSION_SECRET ?? null,
    masterKey: vars.MASTER_KEY ?? null,
    mail: vars.SMTP_URL ? {smtpUrl: vars.SMTP_URL, from} : {dir: join(dataDir, 'mail'), from},
    discord: discord && {
      clientId: discord.DISCORD_CLIENT_ID,
      clientSecret: discord.DISCORD_CLIENT_SECRET,
      origin: vars.DISCORD_ORIGIN,
    },
    reddit: reddit && {
      clientId: reddit.REDDIT_CLIENT_ID,
      clientSecret: reddit.REDDIT_CLIENT_SECRET,
      origin: vars.REDDIT_ORIGIN,
      apiOrigin: vars.REDDIT_API_ORIGIN,
    },
    uploads: {
      oss: oss && {
        region: oss.OSS_REGION,
        bucket: oss.OSS_BUCKET,
        accessKeyId: oss.OSS_ACCESS_KEY_ID,
        accessKeySecret: oss.OSS_ACCESS_KEY_SECRET,
        endpoint: oss.OSS_ENDPOINT,
      },
      dir: uploadDir === null ? null : resolve(uploadDir),
    },
    chatBotToken: vars.CHAT_BOT_TOKEN ?? null,
    corsOrigins: vars.CORS_ORIGINS,
    trustProxy: vars.TRUST_PROXY,
    limits: {
      mailsPerIp: vars.MAILS_PER_IP,
      loginsPerMinute: vars.LOGINS_PER_MINUTE,
      writesPerMinute: vars.WRITES_PER_MINUTE,
      messagesPerMinute: vars.MESSAGES_PER_MINUTE,
    },
    bcryptCost: vars.BCRYPT_COST,
    logLevel: vars.LOG_LEVEL,
    postsUnpagedMax: vars.POSTS_UNPAGED_MAX,
  })
}

/**
 * As `mkdir -p`, and false where it was there. Node's own, below a folder that takes none (/proc), tries for ever.
 */
export const makeFolder = async (path: string, mode: number): Promise<boolean> => {
  const make = async () => {
    try {
      await mkdir(path, {mode})
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
      throw error
    }
  }
  try {
    return await make()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    await makeFolder(dirname(path), mode)
    return make()
  }
}

/** Throws {@link ConfigError} where there can be none. 0711: the embedded database may run as another user, who must pass through but see nothing. */
export const makeDataDir = async ({dataDir}: Pick<Config, 'dataDir'>): Promise<void> => {
  try {
    if (await makeFolder(dataDir, 0o711)) await chmod(dataDir, 0o711)
  } catch (error) {
    throw new ConfigError(`DATA_DIR must be a folder that this user can read and write: ${(error as Error).message}`)
  }
}
