import {randomBytes, randomUUID} from 'node:crypto'
import {chmod, mkdtemp, readdir, readFile, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {Pool} from 'pg'
import {describe, expect, it, onTestFinished} from 'vitest'
import {checkClock, checkNewest} from '../../src/operations/checks/clock.ts'
import {smtpPeer} from '../mail/smtpPeer.ts'
import {community} from '../support/commandLine.ts'
import {createDatabase} from '../support/database.ts'
import {eventually} from '../support/eventually.ts'
import {signUp, startServer} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'
import {startTcpProxy} from '../support/tcpProxy.ts'
import {OSS, startOssPeer} from '../uploads/ossPeer.ts'

const CHECKS = ['configuration', 'versions', 'disk', 'database', 'clock', 'keys', 'log', 'tables', 'mail', 'storage']

type Finding = {check: string; verdict: string; found: string; advice: string | null}
type Report = {ok: boolean; problems: number; warnings: number; findings: Finding[]}

/** Runs it, and holds what is so of each report. */
const doctor = async (
  env: NodeJS.ProcessEnv,
): Promise<{report: Report; status: number; told(check: string): string}> => {
  const {status, stdout, stderr} = await community(env, 'doctor', '--json')
  expect(stderr).toBe('')
  const report = JSON.parse(stdout) as Report
  expect(report.findings.filter(({verdict}) => verdict === 'problem')).toHaveLength(report.problems)
  expect([report.ok, status]).toEqual(report.problems === 0 ? [true, 0] : [false, 1])
  for (const {verdict, found, advice} of report.findings) {
    expect(['ok', 'warning', 'problem']).toContain(verdict)
    expect(found).toMatch(/^\S.*\.$/)
    // What is well needs nothing done, and of the rest it is said what.
    expect(advice === null, found).toBe(verdict === 'ok')
    expect(`${found} ${advice ?? ''}`).not.toContain('[object')
  }
  for (const secret of secretsIn(env)) expect(stdout).not.toContain(secret)
  const told = (check: string) =>
    report.findings
      .filter((one) => one.check === check)
      .map(({verdict, found, advice}) => `${verdict}: ${found}${advice === null ? '' : ` → ${advice}`}`)
      .join('\n')
  return {report, status, told}
}

const secretsIn = (env: NodeJS.ProcessEnv): string[] =>
  [
    ...['SESSION_SECRET', 'MASTER_KEY', 'CHAT_BOT_TOKEN', 'OSS_ACCESS_KEY_SECRET', 'DISCORD_CLIENT_SECRET'].map(
      (name) => env[name],
    ),
    ...['DATABASE_URL', 'SMTP_URL', 'EVENTSTORE_URL'].map((name) => /:\/\/[^:@/]*:([^@]+)@/.exec(env[name] ?? '')?.[1]),
  ].filter((secret) => secret !== undefined && secret !== '') as string[]

const startSmtp = async (lets: string | null = null) => {
  const peer = await smtpPeer({lets})
  onTestFinished(peer.stop)
  return peer
}

describe('doctor beside a running server', () => {
  const server = sharedServer({DISCORD_CLIENT_ID: 'id', DISCORD_CLIENT_SECRET: 'a-secret-of-discord'})

  const inDatabase = async (text: string, values: unknown[] = []) => {
    const pool = new Pool({connectionString: server().databaseUrl, max: 1})
    try {
      return (await pool.query(text, values)).rows
    } finally {
      await pool.end()
    }
  }

  it('finds each part well, and says so of each', async () => {
    await signUp(server())
    const peer = await startSmtp('a-secret-of-mail')
    const uploads = await mkdtemp(join(tmpdir(), 'doctor-'))
    const {report, status, told} = await doctor({
      ...server().env,
      SMTP_URL: peer.url.replace('//', '//ann:a-secret-of-mail@'),
      UPLOAD_DIR: uploads,
    })
    expect([status, report.problems, report.warnings], JSON.stringify(report)).toEqual([0, 0, 0])
    for (const check of CHECKS) expect(told(check), check).toMatch(/^ok: /)
    expect(told('tables').split('\n')).toHaveLength(1 + (await inDatabase('SELECT FROM read.generations')).length)
    expect(told('tables')).toContain('messages: generation 1 holds all that the log holds.')
    expect(told('keys')).toContain('MASTER_KEY opens the keys.')
    // It sent nothing, and left nothing.
    expect([peer.received, await readdir(uploads)]).toEqual([[], []])
  })

  it('speaks to people in lines: a verdict, the check, what was found, and what to do', async () => {
    const {status, stdout, stderr} = await community(server().env, 'doctor')
    expect([status, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/^ok {7}tables {9}messages: generation 1 holds all that the log holds\.$/m)
    expect(stdout).toMatch(/^warning {2}mail {11}Mails are files in .*\n {24}→ Set SMTP_URL and MAIL_FROM\.$/m)
    expect(stdout).toMatch(/\n\n0 problems, 2 warnings\. .*\n$/)
    expect((await community(server().env, 'doctor', '--help')).stdout).toContain('npm run -s community -- doctor')
    expect((await community(server().env, 'doctor', 'everything')).status).toBe(2)
  })

  it('changes nothing in the database', async () => {
    const written = `SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::text AS rows, count(*) FROM pg_stat_user_tables
      WHERE schemaname IN ('keys', 'log') OR relname = 'generations'`
    const before = await inDatabase(
      `SELECT oid, xmin::text FROM pg_proc WHERE proname IN ('append', 'advance') ORDER BY oid`,
    )
    const rows = await inDatabase(written)
    await doctor(server().env)
    expect(await inDatabase(written)).toEqual(rows)
    expect(
      await inDatabase(`SELECT oid, xmin::text FROM pg_proc WHERE proname IN ('append', 'advance') ORDER BY oid`),
    ).toEqual(before)
  })

  it.each([
    [
      'nobody listens',
      async () => 'smtp://ann:a-secret-of-mail@127.0.0.1:1',
      /does not let us in \(ESOCKET\)\. → Start/,
    ],
    [
      'the mail server does not take the password',
      async () => `smtp://ann:a-secret-of-mail@127.0.0.1:${(await startSmtp('another')).port}`,
      /does not let us in \(EAUTH.*\)\. → Correct the user and the password/,
    ],
  ])('where %s', async (_, smtpUrl, said) => {
    const {status, told} = await doctor({...server().env, SMTP_URL: await smtpUrl()})
    expect(status).toBe(1)
    expect(told('mail')).toMatch(said)
    expect(told('tables')).toMatch(/^ok: /)
  })

  it('tells of mails that wait', async () => {
    await inDatabase(
      `INSERT INTO state.mails (event_id, stream, sealed, attempts, queued_at, next_try)
       VALUES ('waits', 'user-x', '', 7, now() - interval '3 hours', 'infinity')`,
    )
    const {status, told} = await doctor(server().env)
    await inDatabase(`DELETE FROM state.mails WHERE event_id = 'waits'`)
    expect(status).toBe(0)
    expect(told('mail')).toMatch(/warning: 1 mail wait.*the oldest for 3 h, tried up to 7 times\. → .*24 hours/)
  })

  it('says where a folder can not be written, and where uploads go nowhere', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'doctor-')), 'file')
    await writeFile(file, '')
    const {status, told} = await doctor({...server().env, UPLOAD_DIR: join(file, 'uploads')})
    expect(status).toBe(1)
    expect(told('storage')).toMatch(/^problem: UPLOAD_DIR .* can't be written: ENOTDIR.* → .*set UPLOAD_DIR/)
    expect((await doctor(server().env)).told('storage')).toMatch(/^warning: Uploads go nowhere.* → Set OSS_\*/)
  })

  it('stores a file in OSS, reads it as everybody does, and removes it', async () => {
    const peer = await startOssPeer()
    const env = {...server().env, ...peer.env}
    expect((await doctor(env)).told('storage')).toMatch(/^ok: The bucket .* takes a file.*\nok: .*read by everybody/)
    expect(peer.objects.size).toBe(0)
    peer.isPublic = false
    expect((await doctor(env)).told('storage')).toMatch(/problem: .* can't be read by everybody: .* answers 403\. → /)
    const wrong = await doctor({...env, OSS_ACCESS_KEY_SECRET: 'another-secret'})
    expect(wrong.status).toBe(1)
    expect(wrong.told('storage')).toMatch(
      /^problem: .*does not take a file.*\(SignatureDoesNotMatch, 403\)\. → Look at OSS_/,
    )
    expect(wrong.told('storage')).not.toContain(OSS.OSS_ACCESS_KEY_ID)
    expect((await doctor({...env, OSS_ENDPOINT: 'http://127.0.0.1:1'})).told('storage')).toMatch(/^problem: .* → /)
  })

  it('says that another MASTER_KEY does not open the keys, and that a damaged key of a person does not open', async () => {
    const other = randomBytes(32).toString('base64')
    const wrong = await doctor({...server().env, MASTER_KEY: other})
    expect(wrong.status).toBe(1)
    expect(wrong.told('keys')).toMatch(
      /^problem: MASTER_KEY does not open the keys in this database\. → Set the MASTER_KEY/,
    )
    await inDatabase(
      `INSERT INTO keys.people (person, wrapped) VALUES ('email_damaged', decode(repeat('00', 72), 'hex'))`,
    )
    const damaged = await doctor(server().env)
    await inDatabase(`DELETE FROM keys.people WHERE person = 'email_damaged'`)
    expect(damaged.told('keys')).toMatch(/problem: the key of email_damaged can't be opened.* → Restore the keys/)
  })

  it.each([
    ['PORT', {PORT: 'many'}],
    ['MASTER_KEY', {MASTER_KEY: 'a-master-key-that-is-none'}],
    ['DATABASE_URL', {DATABASE_URL: 'mysql://u:a-secret-of-mysql@h/d'}],
  ])('tells of a wrong %s as of any other finding', async (name, change) => {
    const {report, status, told} = await doctor({...server().env, ...change})
    expect(status).toBe(1)
    expect(told('configuration')).toMatch(new RegExp(`^problem: ${name} must be .* → Set it right`))
    expect(new Set(report.findings.map(({check}) => check))).toEqual(new Set(['configuration', 'versions']))
  })

  it('warns of passwords in clear and of limits that count the proxy', async () => {
    expect((await doctor({...server().env, BASE_URL: 'http://community.example.org'})).told('configuration')).toMatch(
      /warning: BASE_URL begins with http.* → Put a proxy/,
    )
    expect((await doctor({...server().env, BASE_URL: 'https://community.example.org'})).told('configuration')).toMatch(
      /warning: .*TRUST_PROXY is off.* → Set TRUST_PROXY/,
    )
  })
})

describe('doctor where a part is broken', () => {
  const withPool = async <T>(databaseUrl: string, work: (pool: Pool) => Promise<T>): Promise<T> => {
    const pool = new Pool({connectionString: databaseUrl, max: 1})
    return work(pool).finally(() => pool.end())
  }

  it('names the event that a table stopped at', async () => {
    const server = await startServer({EVENTSTORE_URL: ''})
    const ann = await signUp(server)
    await ann.post('/api/posts', {title: 'fine'})
    await withPool(server.databaseUrl, async (pool) => {
      await pool.query(`
        UPDATE log.head SET position = position + 1;
        INSERT INTO log.events (position, stream, revision, id, type, data, metadata)
        SELECT position + 1, 'post-x', 0, gen_random_uuid(), 'PostCreated', '{"postId":17}', metadata
        FROM log.events ORDER BY position DESC LIMIT 1;
        NOTIFY log`)
      const stopped = `SELECT FROM read.generations WHERE fault IS NOT NULL AND view LIKE 'read.posts%'`
      await eventually(async () => (await pool.query(stopped)).rowCount === 1)
    })
    const {status, told} = await doctor(server.env)
    expect(status).toBe(1)
    expect(told('tables')).toMatch(/problem: posts stopped at event [0-9a-f-]{36} at position \d+ .* → Mend the cause/)
    expect(told('tables')).toContain('ok: messages: generation 1 holds all')
  })

  it('says how long nobody feeds the tables, and that one was made from another history', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    await server.stop()
    const {id} = ann
    await withPool(server.databaseUrl, async (pool) => {
      // As it is where a node died and others wrote: the checkpoint of one table is older than the newest event.
      await pool.query(`UPDATE read.generations SET position = NULL, event_id = NULL WHERE view LIKE 'read.users%'`)
      await pool.query(`UPDATE read.generations SET event_id = $1 WHERE view LIKE 'read.posts%'`, [randomUUID()])
      await pool.query(`UPDATE keys.people SET wrapped = NULL WHERE person = $1`, [id])
    })
    const {status, told} = await doctor(server.env)
    expect(status).toBe(1)
    expect(told('tables')).toMatch(/^warning: No server feeds the read tables now\. → Start one/)
    expect(told('tables')).toMatch(/: users does not hold what was written \d+ s ago and after\./)
    expect(told('tables')).toMatch(/problem: posts was made from another history.* → Start a server/)
    expect(told('backlog')).toMatch(/warning: 1 erasure is begun and not done\. → /)
  })

  it('tells of a database that is not there, or does not answer, and of the rest all the same', async () => {
    const env = {
      ...(await startServer({EVENTSTORE_URL: ''})).env,
      DATABASE_URL: 'postgres://ann:a-secret-of-postgres@127.0.0.1:1/none',
      EVENTSTORE_URL: 'esdb://ann:a-secret-of-esdb@127.0.0.1:1?tls=false',
    }
    const {status, told} = await doctor(env)
    expect(status).toBe(1)
    expect(told('database')).toMatch(/^problem: .*ECONNREFUSED 127\.0\.0\.1:1\. → Start PostgreSQL, or correct/)
    expect(told('log')).toMatch(/^problem: .*EventStoreDB.* → Start EventStoreDB, or correct EVENTSTORE_URL/)
    for (const check of ['versions', 'disk']) expect(told(check)).toMatch(/^ok: /)

    const url = new URL((await createDatabase()).replace('@/', '@127.0.0.1/'))
    const [folder, port] = [url.searchParams.get('host'), url.searchParams.get('port') ?? url.port]
    const proxy = await startTcpProxy(folder === null ? Number(port) : `${folder}/.s.PGSQL.${port}`)
    onTestFinished(() => proxy.close())
    proxy.stall()
    url.search = ''
    url.port = String(proxy.port)
    const silent = await doctor({...env, DATABASE_URL: url.href, EVENTSTORE_URL: ''})
    expect(silent.told('database')).toMatch(/^problem: .*timeout.* → Start PostgreSQL/)
  })

  it('measures clocks against each other', async () => {
    const server = await startServer()
    const now = (ahead: number) => ({now: () => Date.now() + ahead})
    await withPool(server.databaseUrl, async (pool) => {
      expect(await checkClock(pool)).toMatchObject([{verdict: 'ok'}])
      expect(await checkClock(pool, now(-10_000))).toMatchObject([
        {verdict: 'warning', found: "The database's clock is 10 s ahead of this machine's."},
      ])
      expect(await checkClock(pool, now(3_600_000))).toMatchObject([
        {verdict: 'problem', found: "The database's clock is 60 min behind this machine's."},
      ])
    })
    const log = {head: async () => 1n, readAt: async () => ({metadata: {time: new Date().toISOString()}}) as never}
    expect(await checkNewest(log)).toMatchObject([{verdict: 'ok', found: 'The newest event was 0 s ago.'}])
    expect(await checkNewest(log, now(-120_000))).toMatchObject([
      {verdict: 'problem', found: "The newest event is 2 min ahead of this machine's clock."},
    ])
  })
})

describe('doctor with the embedded database', () => {
  it('makes nothing before the first start, finds it without a server, and says what is wrong with it', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'doctor-'))
    const env = {DATA_DIR: dataDir}
    const first = await doctor(env)
    expect([first.status, await readdir(dataDir)]).toEqual([0, []])
    expect(first.told('database')).toMatch(/^ok: There is none in DATA_DIR yet/)

    const server = await startServer({
      ...{DATA_DIR: dataDir, DATABASE_URL: '', MASTER_KEY: '', SESSION_SECRET: '', EVENTSTORE_URL: ''},
    })
    await server.stop()
    const stopped = await community(env, 'doctor')
    expect([stopped.status, stopped.stderr]).toEqual([0, ''])
    for (const line of [/^ok +database +PostgreSQL 18/m, /^ok +log /m, /^warning +tables +No server feeds/m])
      expect(stopped.stdout).toMatch(line)
    const {masterKey, sessionSecret} = JSON.parse(await readFile(join(dataDir, 'secrets.json'), 'utf8'))
    expect(stopped.stdout).not.toContain(masterKey)
    expect(stopped.stdout).not.toContain(sessionSecret)

    await chmod(join(dataDir, 'secrets.json'), 0o644)
    await writeFile(join(dataDir, 'postgres/data/PG_VERSION'), '14\n')
    const {status, told} = await doctor(env)
    expect(status).toBe(1)
    expect(told('configuration')).toMatch(/warning: Others on this machine can read .* → Run: chmod 600/)
    expect(told('database')).toMatch(/^problem: .*holds data of PostgreSQL 14.*run "backup"/)
  })
})
