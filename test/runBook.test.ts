import {execFileSync, spawnSync} from 'node:child_process'
import {randomBytes} from 'node:crypto'
import {chmod, mkdir, mkdtemp, readFile, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {smtpPeer} from './mail/smtpPeer.ts'
import {newCheckout} from './support/checkout.ts'
import {createDatabase} from './support/database.ts'
import {eventually} from './support/eventually.ts'
import {linkIn, type Person, signUp, type TestServer, visit} from './support/server.ts'
import {endAll} from './support/serverProcess.ts'
import {closeShells, freePort, openShell} from './support/shell.ts'

const page = await readFile(fileURLToPath(new URL('../docs/operations.md', import.meta.url)), 'utf8')

/** The commands of each section, in their order: lines that are indented as code, and what the text calls by `npm run`. */
const commandsIn = (text: string): string[] =>
  [...text.matchAll(/^ {4}(\S.*)$|`(npm run -s community -- [^`]+)`/gm)].map(([, line, inline]) =>
    (line ?? inline!).replace(/\s+/g, ' '),
  )
const sections = new Map(
  page
    .split(/^## /m)
    .slice(1)
    .map((section) => {
      const [title = ''] = section.split('\n')
      return [title, commandsIn(section)]
    }),
)

type Shell = ReturnType<typeof openShell>

let home: string
const dataDirs: string[] = []
let mail: Awaited<ReturnType<typeof smtpPeer>>
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'community-runbook-'))
  // The database runs as another user where we are root.
  await chmod(home, 0o711)
  await mkdir(join(home, 'bin'))
  const npm = execFileSync('sh', ['-c', 'command -v npm']).toString().trim()
  await writeFile(join(home, 'bin/npm'), `#!/bin/sh\n[ "$*" = ci ] && exit 0\nexec "${npm}" "$@"\n`, {mode: 0o755})
  mail = await smtpPeer()
})
afterAll(async () => {
  await closeShells()
  await endAll(dataDirs)
  await mail.stop()
  await rm(home, {recursive: true, force: true})
})

const hasCurl = spawnSync('curl', ['--version']).status === 0

describe('docs/operations.md', () => {
  it('says what each alarm means that the server, its figures and its commands raise', async () => {
    const table = page.split('## When something is wrong')[1]!
    for (const sign of [
      'BEHIND',
      'UNAVAILABLE',
      'building',
      'community_projection_faulted',
      'community_projection_lag_seconds',
    ])
      expect(table).toContain(sign)
  })

  it.skipIf(!hasCurl)(
    'holds commands that do what it says, from the first start to another database',
    {timeout: 300_000},
    async () => {
      const checkout = await newCheckout()
      const newVersion = await newCheckout()
      await newVersion.change('src/projections/posts.ts', 'version: 1', 'version: 2')
      const where = (of: typeof checkout) => join(of.main, '../..')
      let erased: Person | undefined
      let room = {id: '', madeBy: ''}
      let moved = ''
      /** What stands for the reader's own in the page. */
      const own: [RegExp, (found: string) => string][] = [
        [/(?<=[ "'=])\/(safe|backups|move)\b/g, (path) => join(home, path)],
        [/\$\(openssl rand -base64 \d+\)/g, () => randomBytes(32).toString('base64')],
        [/smtps:\/\/user:password@mail\.example\.org/g, () => mail.url],
        [/email_k3v2mmq7y5d4c6b2a7zj3h5w2e/g, () => erased!.id],
        [/\br-k3v2mmq7y5d4c6b2a7zj3h5w2e/g, () => room.id],
        [/6f0c9a9e-0d0f-4b5e-9d52-0a8a0f6f3c1e/g, () => room.madeBy],
        [/2026-11-24T18:00/g, () => new Date().toISOString()],
        [/postgres:\/\/user:password@host:5432\/database/g, () => moved],
        [/esdb:\/\/user:password@host:2113/g, () => process.env.EVENTSTORE_URL ?? ''],
      ]
      const asOwn = (command: string): string =>
        own.reduce((text, [pattern, value]) => text.replace(pattern, (found) => value(found)), command)

      const left = new Map([...sections].map(([title, commands]) => [title, [...commands]]))
      /** The next commands of a section, as the reader would give them: up to the one that holds `last`, or all. */
      const take = (title: string, last?: string): string[] => {
        const commands = left.get(title)!
        const end = last === undefined ? commands.length - 1 : commands.findIndex((one) => one.includes(last))
        if (end < 0 && last !== undefined) throw new Error(`"${title}" has no command with ${last}`)
        return commands.splice(0, end + 1).map(asOwn)
      }

      const envOf = async (port: number, dataDir: string, rest: NodeJS.ProcessEnv = {}): Promise<NodeJS.ProcessEnv> => {
        dataDirs.push(dataDir)
        const curl = await mkdtemp(join(home, 'curl-'))
        await writeFile(join(curl, '.curlrc'), `connect-to = "localhost:3000:127.0.0.1:${port}"\n`)
        return {
          PATH: `${join(home, 'bin')}:${process.env.PATH}`,
          HOME: home,
          CURL_HOME: curl,
          PORT: `${port}`,
          DATA_DIR: dataDir,
          BCRYPT_COST: '4',
          MAILS_PER_IP: '0',
          WRITES_PER_MINUTE: '0',
          ...rest,
        }
      }
      const run = async (shell: Shell, commands: string[], statuses = [0]): Promise<string> => {
        let all = ''
        for (const command of commands) {
          const {output, status} = await shell.runs(command)
          if (!statuses.includes(status)) throw new Error(`${command}\nended with ${status}: ${output}`)
          all += output
        }
        return all
      }
      const start = async (cwd: string, env: NodeJS.ProcessEnv, script: string[]): Promise<Shell> => {
        const shell = openShell({cwd, env}, ['-c', script.join('\n')])
        await shell.waitFor('the server is ready')
        return shell
      }
      const titles = async (url: string): Promise<string[]> =>
        (await visit(url).get('/api/posts')).body.map(({title}: {title: string}) => title)

      const port = await freePort()
      const url = `http://127.0.0.1:${port}`
      const env = await envOf(port, join(home, 'data'))
      const reader = openShell({cwd: where(checkout), env})

      // First start.
      await run(reader, take('First start', '> '))
      const settings = take('First start', 'SMTP_URL')
      await run(reader, settings)
      const [starts] = take('First start', 'npm start')
      let server = await start(where(checkout), env, [...settings, starts!])
      expect(JSON.parse(await run(reader, take('First start', 'curl')))).toMatchObject({ok: true})
      const people: Pick<TestServer, 'url' | 'links'> = {
        url,
        links: async (address) =>
          mail.received.filter(({to}) => to.includes(address)).map(({message}) => linkIn(message)),
      }
      const [ann, bob] = [await signUp(people as TestServer), await signUp(people as TestServer)]
      erased = bob
      for (let n = 0; n < 30; n++) await ann.post('/api/posts', {title: `post ${n}`})
      await bob.post('/api/posts', {title: 'by Bob'})
      const made = await ann.post('/api/rooms', {name: 'Kitchen'})
      room = {id: made.body.room.id, madeBy: made.headers.get('x-request-id')!}
      await run(reader, take('First start'))

      // A backup, and the same from it elsewhere.
      await run(reader, take('Back up and restore', 'backup'))
      const otherPort = await freePort()
      const other = openShell({cwd: where(checkout), env: await envOf(otherPort, join(home, 'other'))})
      await run(other, [...settings, ...take('Back up and restore')])
      const otherEnv = await envOf(otherPort, join(home, 'other'))
      const restored = await start(where(checkout), otherEnv, [...settings, 'npm start'])
      await eventually(async () => (await visit(`http://127.0.0.1:${otherPort}`).get('/readyz')).status === 200)
      expect(await titles(`http://127.0.0.1:${otherPort}`)).toEqual(await titles(url))
      await restored.pressCtrlC()

      for (const title of ['Rebuild, compare, roll back', 'Seal and verify the history']) await run(reader, take(title))
      expect(await titles(url)).toHaveLength(31)

      // Into a log that holds nothing, with the key of that time.
      const into = openShell({cwd: where(checkout), env: await envOf(0, join(home, 'into'))})
      await run(into, [...settings, ...take('Import an export')])

      await run(reader, take('Erase a person, change the master key', 'users erase'))
      expect(await titles(url)).toContain('[erased]')
      const [, masterKey] = /^MASTER_KEY=(\S+)$/m.exec(
        await run(reader, take('Erase a person, change the master key')),
      )!
      const renewed = `export MASTER_KEY=${masterKey}`
      await run(reader, [renewed])

      // What others added to the page is tried as it stands there, beside the server.
      const scenes = ['Upgrade', 'Move to a PostgreSQL of your own', 'Move to EventStoreDB']
      for (const title of left.keys()) if (!scenes.includes(title)) await run(reader, take(title), [0])

      // The new version is built beside the old one, and takes over.
      const upgrader = openShell({cwd: where(newVersion), env})
      await run(upgrader, [...settings, renewed, ...take('Upgrade', 'projections rebuild')])
      expect(await titles(url)).toHaveLength(31)
      await server.pressCtrlC()
      server = await start(where(newVersion), env, [...settings, renewed, ...take('Upgrade')])
      expect(await titles(url)).toHaveLength(31)

      // To a PostgreSQL of one's own.
      const moving = 'Move to a PostgreSQL of your own'
      moved = await createDatabase()
      const mover = openShell({cwd: where(newVersion), env})
      await run(mover, [...settings, renewed, ...take(moving, ' backup ')])
      await ann.post('/api/posts', {title: 'after the backup'})
      const movedEnv = await envOf(port, join(home, 'moved'), {DATABASE_URL: moved, UPLOAD_DIR: join(home, 'uploads')})
      const there = openShell({cwd: where(newVersion), env: movedEnv})
      await run(there, [...settings, renewed, ...take(moving, ' restore ')])
      const [copy] = take(moving, ' log copy ')
      await run(mover, [copy!])
      await server.pressCtrlC()
      await run(mover, [copy!])
      await run(there, take(moving))
      server = await start(where(newVersion), movedEnv, [...settings, renewed, 'npm start'])
      await eventually(async () => (await visit(url).get('/readyz')).status === 200)
      expect((await titles(url))[0]).toBe('after the backup')
      await server.pressCtrlC()

      const toEventStore = take('Move to EventStoreDB')
      if (process.env.EVENTSTORE_URL) {
        const prefix = {EVENTSTORE_PREFIX: `t${randomBytes(6).toString('hex')}.`}
        const last = openShell({cwd: where(newVersion), env: {...movedEnv, ...prefix}})
        await run(last, [...settings, renewed, ...toEventStore.slice(0, -1)])
        const eventStore = {...movedEnv, ...prefix, EVENTSTORE_URL: process.env.EVENTSTORE_URL}
        await run(openShell({cwd: where(newVersion), env: eventStore}), [
          ...settings,
          renewed,
          ...toEventStore.slice(-1),
        ])
        server = await start(where(newVersion), eventStore, [...settings, renewed, 'npm start'])
        await eventually(async () => (await visit(url).get('/readyz')).status === 200)
        expect((await titles(url))[0]).toBe('after the backup')
        await server.pressCtrlC()
      }
      expect([...left.values()].flat()).toEqual([])
    },
  )
})
