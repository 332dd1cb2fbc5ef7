// npm run audit-transcript: makes a log of 10,000 events, runs the commands below on it, and prints what came of them as
// Markdown: that is what docs/audit.md shows. With --write it puts it there. Where EVENTSTORE_URL is set, it copies the log there, too.
import {spawn} from 'node:child_process'
import {randomBytes} from 'node:crypto'
import {mkdir, mkdtemp, readFile, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {Client} from 'pg'
import {startEmbeddedPostgres} from '../src/database/embeddedPostgres.ts'
import {SECRETS} from './place.ts'
import {fillWorld, people, postsBy, register} from './world.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const DOCUMENT = join(ROOT, 'docs/audit.md')
const MARKS = ['<!-- transcript -->\n', '<!-- end of the transcript -->\n'] as const
const EVENTS = 10_000

const dir = await mkdtemp(join(tmpdir(), 'community-transcript-'))
const taken = join(dir, 'taken-away')
const quiet = {info: () => {}, warn: () => {}, error: () => {}}
const postgres = await startEmbeddedPostgres({dataDir: dir, logger: quiet, onExit: () => {}})
const urlOf = (database: string) => postgres.url.replace(/\/community(?=\?|$)/, `/${database}`)
await mkdir(taken)
const out: string[] = []
const say = (text: string) => void out.push(`${text}\n\n`)
const block = (text: string) => void out.push(`${text.trimEnd().replaceAll(/^(?=.)/gm, '    ')}\n\n`)

/** A line for the shell, shown as it is typed: `community` stands for `npm run -s community --`. */
const run = async (line: string, env: NodeJS.ProcessEnv = {}): Promise<void> => {
  const {EVENTSTORE_URL, EVENTSTORE_PREFIX, ...rest} = process.env
  const began = performance.now()
  const shell = spawn('sh', ['-c', `community() { "$NODE" "${ROOT}/bin/community.js" "$@"; }\n${line}`], {
    cwd: taken,
    env: {
      ...rest,
      ...SECRETS,
      NODE: process.execPath,
      DATA_DIR: dir,
      DATABASE_URL: urlOf('community'),
      ...env,
    },
  })
  let said = ''
  for (const stream of [shell.stdout, shell.stderr])
    stream.on('data', (chunk) => {
      said += chunk
    })
  const status = await new Promise<number | null>((resolve) => shell.on('close', resolve))
  const seconds = ((performance.now() - began) / 1_000).toFixed(1)
  const shown = line.replaceAll(`${ROOT}/`, '').replaceAll(ROOT, '').replaceAll(postgres.url, '$DATABASE_URL')
  block(`$ ${shown}\n${said}${said === '' || said.endsWith('\n') ? '' : '\n'}# exit status ${status}, ${seconds} s`)
}

/** Runs the statements, and gives what the last one found. */
const sql = async (...statements: string[]): Promise<{[column: string]: unknown}[]> => {
  const client = new Client({connectionString: urlOf('community')})
  await client.connect()
  try {
    let found: {[column: string]: unknown}[] = []
    for (const statement of statements) found = (await client.query(statement)).rows
    return found
  } finally {
    await client.end()
  }
}

/** SQL behind the program's back, what verify says of it, and everything as it was. */
const tamper = async (...statements: string[]): Promise<void> => {
  await sql('CREATE TABLE untouched AS TABLE log.events', ...statements)
  block(statements.map((statement) => `sql> ${statement}`).join('\n'))
  await run('community audit verify --seal tuesday.json')
  await sql('TRUNCATE log.events', 'INSERT INTO log.events TABLE untouched', 'DROP TABLE untouched')
}

const by = people(20)
const tell = async () => {
  await fillWorld(urlOf('community'), async (world) => {
    await register(world, by)
    await world.append(postsBy(by, EVENTS - 1 - by.length * 2))
  })
  say(
    `The log holds ${EVENTS.toLocaleString('en')} events: people, and posts of theirs. What happened, and what caused what:`,
  )
  await run('community audit log --type UserRegistered | head -4')
  await run(`community audit show user-${by[0]!.userId}`)
  const [event] = await sql('SELECT id FROM log.events WHERE position = 42')
  await run(`community audit trace ${event!.id} | head -8`)
  say('The read tables as they stood after 5,000 events, to query with SQL:')
  await run(`community audit replay --as-of 5000 --schema then`)
  const query = 'SELECT count(*) AS posts FROM "then".posts'
  const [counted] = await sql(query)
  block(`sql> ${query}\n${counted!.posts}`)

  say('On Monday the auditor seals the log, and takes the seal away.')
  await run('community audit seal | tee monday.json')
  await fillWorld(urlOf('community'), ({append}) => append(postsBy(by, 500)))
  say('On Tuesday it holds 500 more. The new seal proves that its log begins with Monday’s.')
  await run('community audit seal --extends monday.json > tuesday.json; head -12 tuesday.json')
  await run('community audit verify --seal monday.json')
  await run('community audit verify --seal tuesday.json --json | head -5')

  say('That one event is in it, for somebody who is not given the others:')
  await run('community audit prove 42 --seal tuesday.json > proof.json; head -24 proof.json')

  say(
    'Nobody needs to believe these commands. The export, the seals and the proof, held against each other by another program:',
  )
  await run('community audit export > log.ndjson; wc -lc log.ndjson; head -1 log.ndjson')
  const verifySeal = `node ${ROOT}/examples/verifySeal.ts`
  await run(`${verifySeal} tuesday.json --export log.ndjson --earlier monday.json --proof proof.json`)
  await run(
    `sed '5000s/"revision":0/"revision":1/' log.ndjson > changed.ndjson; ${verifySeal} tuesday.json --export changed.ndjson`,
  )
  await run(`sed 's/"size": 10000/"size": 9999/' monday.json > changed.json; ${verifySeal} changed.json`)

  say('Now somebody with the password of the database changes an event, removes one, puts one in, and moves one:')
  await tamper(
    `UPDATE log.events SET metadata = jsonb_set(metadata::jsonb, '{time}', '"2020-01-01T00:00:00.000Z"')::json WHERE position = 5000`,
  )
  await tamper('DELETE FROM log.events WHERE position = 7000')
  await tamper(
    'UPDATE log.events SET position = -position - 1 WHERE position >= 300',
    'UPDATE log.events SET position = -position WHERE position < 0',
    `INSERT INTO log.events (position, stream, revision, id, type, data, metadata)
     SELECT 300, 'post-p-forged', 0, gen_random_uuid(), type, data, metadata FROM log.events WHERE position = 299`,
  )
  await tamper(
    'UPDATE log.events SET position = -1 WHERE position = 1000',
    'UPDATE log.events SET position = 1000 WHERE position = 9000',
    'UPDATE log.events SET position = 9000 WHERE position = -1',
  )
  say('and changes the hashes that are kept beside the log as well, which can’t hide it:')
  await tamper('DELETE FROM log.events WHERE position = 7000', 'TRUNCATE proof.tiles')
  await run('community audit seal > again.json; community audit verify --seal tuesday.json')

  say('A person is erased; what was sealed is still there, and still sealed:')
  await run(`community users erase ${by[3]!.userId}`)
  await run('community audit verify --seal tuesday.json')

  say('The log goes to another database, by itself and as an export. The roots are the same:')
  await sql('CREATE DATABASE elsewhere', 'CREATE DATABASE imported')
  await run(`community log copy --to "$ELSEWHERE"`, {ELSEWHERE: urlOf('elsewhere')})
  await run(
    `DATABASE_URL="$ELSEWHERE" community audit verify --seal tuesday.json --key "$(community audit seal --public-key | sed -n 2p)"`,
    {
      ELSEWHERE: urlOf('elsewhere'),
    },
  )
  await run('community audit export > log.ndjson; DATABASE_URL="$IMPORTED" community audit import log.ndjson', {
    IMPORTED: urlOf('imported'),
  })
  if (process.env.EVENTSTORE_URL === undefined) return
  const eventStore = {
    EVENTSTORE: process.env.EVENTSTORE_URL,
    EVENTSTORE_PREFIX: `t${randomBytes(6).toString('hex')}.`,
  }
  say('and to EventStoreDB, where the seal of the first log holds:')
  await run('community log copy --to "$EVENTSTORE"', eventStore)
  await run('EVENTSTORE_URL="$EVENTSTORE" community audit verify --seal tuesday.json', eventStore)
}

try {
  await tell()
  const transcript = out.join('')
  if (process.argv.includes('--write')) {
    const text = await readFile(DOCUMENT, 'utf8')
    const [before, rest] = text.split(MARKS[0])
    await writeFile(DOCUMENT, `${before}${MARKS[0]}\n${transcript}${MARKS[1]}${rest!.split(MARKS[1])[1]}`)
  } else process.stdout.write(transcript)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
  process.exitCode = 1
} finally {
  await postgres.stop()
  await rm(dir, {recursive: true, force: true})
}
