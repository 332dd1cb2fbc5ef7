import {randomBytes} from 'node:crypto'
import {mkdtemp, readdir, readFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {pino} from 'pino'
import {type Socket as ClientSocket, io} from 'socket.io-client'
import {onTestFinished} from 'vitest'
import {openApp} from '../../src/app.ts'
import {readConfig} from '../../src/config.ts'
import {checkAnswer, checkCallback, checkReceived, watchAnswers} from './conformance.ts'
import {createDatabase} from './database.ts'
import {eventually} from './eventually.ts'

export const BOT_TOKEN = 'a token that only the bots know'.replaceAll(' ', '-')

export type TestServer = {
  url: string
  databaseUrl: string
  dataDir: string
  /** Everything that was logged. */
  logged: string[]
  env: NodeJS.ProcessEnv
  stop(): Promise<void>
  /** The links in the mails to this address, oldest first. */
  links(address: string): Promise<string[]>
}

/**
 * A server in this process on a database of its own, or on the one that `env` names; stopped when the test is over, or,
 * where a file's tests share it, by whoever started it.
 */
export const startServer = async (
  env: NodeJS.ProcessEnv = {},
  {shared = false}: {shared?: boolean} = {},
): Promise<TestServer> => {
  const databaseUrl = env.DATABASE_URL ?? (await createDatabase())
  const dataDir = env.DATA_DIR ?? (await mkdtemp(join(tmpdir(), 'community-data-')))
  const full: NodeJS.ProcessEnv = {
    DATABASE_URL: databaseUrl,
    DATA_DIR: dataDir,
    PORT: '0',
    SESSION_SECRET: 'a secret for tests, thirty-two characters and more',
    MASTER_KEY: randomBytes(32).toString('base64'),
    BCRYPT_COST: '4',
    MAILS_PER_IP: '0',
    LOGINS_PER_MINUTE: '0',
    WRITES_PER_MINUTE: '0',
    MESSAGES_PER_MINUTE: '0',
    CHAT_BOT_TOKEN: BOT_TOKEN,
    LOG_LEVEL: 'debug',
    ...(process.env.EVENTSTORE_URL
      ? {EVENTSTORE_URL: process.env.EVENTSTORE_URL, EVENTSTORE_PREFIX: `t${randomBytes(6).toString('hex')}.`}
      : {}),
    ...env,
  }
  const logged: string[] = []
  const logger = pino({level: full.LOG_LEVEL!}, {write: (line: string) => void logged.push(line)})
  const app = openApp(readConfig(full), {logger, onFatal: (reason) => logged.push(`fatal: ${reason}`)})
  const {port} = await app.start()
  const unwatch = watchAnswers(port)
  let stopping: Promise<void> | null = null
  const stop = () => {
    stopping ??= app.stop().finally(unwatch)
    return stopping
  }
  if (!shared) onTestFinished(stop)
  const mailDir = join(dataDir, 'mail')
  return {
    url: `http://127.0.0.1:${port}`,
    databaseUrl,
    dataDir,
    logged,
    env: full,
    stop,
    links: async (address) => {
      const files = (await readdir(mailDir).catch(() => [])).filter((file) => file.endsWith('.eml')).sort()
      const mails = await Promise.all(files.map((file) => readFile(join(mailDir, file), 'utf8')))
      return mails
        .filter((mail) => new RegExp(`^To: .*${address.replaceAll('.', '\\.')}`, 'im').test(mail))
        .map((mail) => linkIn(mail))
    },
  }
}

/** The link in a mail's text part, whatever its transfer encoding. */
export const linkIn = (mail: string): string => {
  const plain = mail.replace(/=\r?\n/g, '').replace(/=3D/g, '=')
  return /https?:\/\/\S+(?:token|reset)=[a-z2-7.]+/.exec(plain)![0]
}

/** An HTTP client with a cookie jar, as a browser has one. */
export type Visitor = {
  url: string
  cookies: Map<string, string>
  request(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply>
  get(path: string, headers?: Record<string, string>): Promise<Reply>
  post(path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply>
}
// biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape
export type Reply = {status: number; body: any; text: string; headers: Headers}

export const visit = (url: string, cookies = new Map<string, string>()): Visitor => {
  const request: Visitor['request'] = async (method, path, body, headers = {}) => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(new URL(path, url), {
      method,
      redirect: 'manual',
      headers: {
        ...(cookie ? {cookie} : {}),
        ...(body === undefined ? {} : {'content-type': 'application/json'}),
        ...headers,
      },
      ...(body === undefined ? {} : {body: typeof body === 'string' ? body : JSON.stringify(body)}),
    })
    for (const line of response.headers.getSetCookie()) {
      const [pair = ''] = line.split(';')
      const at = pair.indexOf('=')
      if (/expires=Thu, 01 Jan 1970/i.test(line)) cookies.delete(pair.slice(0, at))
      else cookies.set(pair.slice(0, at), pair.slice(at + 1))
    }
    const text = await response.text()
    let parsed: unknown = null
    try {
      parsed = JSON.parse(text)
    } catch {}
    checkAnswer(url, {
      method,
      path: new URL(path, url).pathname,
      status: response.status,
      header: (name) => response.headers.get(name),
      body: text,
    })
    return {status: response.status, body: parsed, text, headers: response.headers}
  }
  return {
    url,
    cookies,
    request,
    get: (path, headers) => request('GET', path, undefined, headers),
    post: (path, body, headers) => request('POST', path, body, headers),
  }
}

export type Person = Visitor & {id: string; username: string; email: string}

let people = 0

/** Registers, takes the link from the mail, and is signed in by it. */
export const signUp = async (
  server: TestServer,
  {username = `Person ${++people}`, email = `person${++people}@example.com`, password = 'secret one'} = {},
): Promise<Person> => {
  const visitor = visit(server.url)
  const registered = await visitor.post('/api/email/register', {email, password, username})
  if (registered.status !== 200) throw new Error(`register: ${registered.text}`)
  const link = await eventually(async () => (await server.links(email)).at(-1), {what: `a mail to ${email}`})
  const path = new URL(link).pathname + new URL(link).search
  const verified = await visitor.get(path)
  if (verified.headers.get('location') !== '/posts/?login=ok')
    throw new Error(`verify: ${verified.headers.get('location')}`)
  // On a machine under load the table of people may be behind for longer than an answer waits: 503 then, as it says.
  const id = await eventually(async () => (await visitor.get('/api/me')).body?.user?.id as string | undefined)
  return {...visitor, id, username, email}
}

export type TestSocket = ClientSocket & {
  received: {name: string; args: unknown[]}[]
  messages(): {seq: number; content: string; [key: string]: unknown}[]
  // biome-ignore lint/suspicious/noExplicitAny: callbacks answer in every shape
  ask(event: string, ...args: unknown[]): Promise<any>
}

/** A connected Socket.IO client that keeps what it receives; disconnected when the test is over. */
export const connect = async (
  who: {url: string; cookies?: Map<string, string>},
  options: {auth?: object; transports?: string[]; extraHeaders?: Record<string, string>} = {},
): Promise<TestSocket> => {
  const cookie = [...(who.cookies ?? [])].map(([name, value]) => `${name}=${value}`).join('; ')
  const socket = io(who.url, {
    forceNew: true,
    reconnection: false,
    ...options,
    extraHeaders: {...(cookie ? {cookie} : {}), ...options.extraHeaders},
  }) as TestSocket
  onTestFinished(() => void socket.disconnect())
  socket.received = []
  socket.onAny((name: string, ...args: unknown[]) => {
    socket.received.push({name, args})
    checkReceived(name, args)
  })
  socket.messages = () =>
    socket.received.filter(({name}) => name === 'message').map(({args}) => args[0]) as ReturnType<
      TestSocket['messages']
    >
  socket.ask = async (event, ...args) => {
    const answer = await socket.timeout(10_000).emitWithAck(event, ...args)
    checkCallback(event, answer)
    return answer
  }
  await new Promise<void>((resolve, reject) => {
    socket.on('connect', resolve)
    socket.on('connect_error', reject)
  })
  return socket
}

export const connectBot = (server: TestServer, auth: {botId?: string; botName?: string} = {}): Promise<TestSocket> =>
  connect(server, {auth: {botToken: BOT_TOKEN, ...auth}})
