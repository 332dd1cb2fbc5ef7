import {once} from 'node:events'
import {type AddressInfo, createServer, type Socket} from 'node:net'
import pg from 'pg'
import {pino} from 'pino'
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it} from 'vitest'
import {
  MAIL_QUEUE_DDL,
  type MailQueue,
  MailQueueFull,
  type MailQueueOptions,
  openMailQueue,
} from '../../src/mail/mailQueue.ts'
import {openTransport} from '../../src/mail/transport.ts'
import {createDatabase} from '../support/database.ts'
import {smtpPeer} from './smtpPeer.ts'

const wait = {timeout: 10_000, interval: 20}

describe('openMailQueue', () => {
  let database: string
  const keyOf = async (): Promise<Buffer | null> => Buffer.alloc(32, 1)
  const inLog = new Set<string>()
  const lines: string[] = []
  const logger = pino({base: null}, {write: (line: string) => void lines.push(line)})
  let pool: pg.Pool
  let peer: Awaited<ReturnType<typeof smtpPeer>>
  let refusal = 0
  let nodes: MailQueue[] = []
  let hangUp = () => {}

  // A pool tells of an idle connection that was cut by an event; one of the tests cuts them all.
  const newPool = (max = 10) => new pg.Pool({connectionString: database, max}).on('error', () => {})
  const openNode = (options: Partial<MailQueueOptions> = {}, smtpUrl = peer.url) => {
    const node = openMailQueue({
      pool,
      keyOf,
      transport: openTransport({smtpUrl, from: 'no-reply@community.example.org'}, logger),
      isInLog: async (stream, eventId) => inLog.has(`${stream} ${eventId}`),
      logger,
      ...options,
    })
    nodes.push(node)
    return node
  }
  const mail = (to: string) => ({to, subject: 'Hello', text: 'https://e.org/?token=secret-token', html: '<p>Hello</p>'})
  const awaits = (eventId: string) => ({stream: 'user-1', eventId})
  const recipients = () => peer.received.map(({to}) => to[0]!)
  const rows = async () =>
    (
      await pool.query<{eventId: string; attempts: number; pause: number}>(
        `SELECT event_id AS "eventId", attempts, extract(epoch FROM next_try - now())::float AS pause
         FROM state.mails ORDER BY event_id`,
      )
    ).rows
  const waiting = async () => (await rows()).map(({eventId}) => eventId)
  /** As if this much time had gone by for every mail, and its next try were due. */
  const later = async (interval: string) => {
    await pool.query(`UPDATE state.mails SET queued_at = queued_at - $1::interval, next_try = now()`, [interval])
    await nodes.at(-1)!.release('which wakes the sender')
  }
  const silentServer = async () => {
    const sockets: Socket[] = []
    const server = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    hangUp = () => {
      server.close()
      for (const socket of sockets) socket.destroy()
    }
    return {
      sockets,
      connected: once(server, 'connection'),
      url: `smtp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    }
  }

  beforeAll(async () => {
    database = await createDatabase()
    pool = newPool()
    await pool.query(MAIL_QUEUE_DDL)
    await pool.query(MAIL_QUEUE_DDL)
  })
  afterAll(() => pool.end())
  beforeEach(async () => {
    refusal = 0
    peer = await smtpPeer({refuse: () => refusal})
  })
  afterEach(async () => {
    hangUp()
    await Promise.all(nodes.map((node) => node.stop()))
    nodes = []
    await peer.stop()
    await pool.query('TRUNCATE state.mails')
    inLog.clear()
    const log = lines.splice(0).join('')
    expect(log).not.toMatch(/example\.org|secret-token|e\.org/)
  })

  it('sends a mail when its event is in the log, and forgets it', async () => {
    const node = openNode()
    await node.enqueue(mail('foo@example.org'), awaits('e-1'))
    await node.release('e-1')
    await expect.poll(recipients, wait).toEqual(['foo@example.org'])
    expect(peer.received[0]!.message).toContain('https://e.org/?token=secret-token')
    await expect.poll(waiting, wait).toEqual([])
  })

  it('sends nothing before', async () => {
    const node = openNode()
    await node.enqueue(mail('early@example.org'), awaits('e-1'))
    await node.enqueue(mail('ready@example.org'), awaits('e-2'))
    await node.release('e-2')
    await expect.poll(recipients, wait).toEqual(['ready@example.org'])
    await later('1 minute')
    await node.release('e-2')
    await expect.poll(async () => (await rows())[0]?.attempts, wait).toBe(1)
    expect(recipients()).toEqual(['ready@example.org'])
    expect(await waiting()).toEqual(['e-1'])
  })

  it('keeps address and link from whoever reads the database', async () => {
    await openNode().enqueue(mail('foo@example.org'), awaits('e-1'))
    const {rows} = await pool.query(`SELECT mails::text || encode(sealed, 'escape') AS row FROM state.mails`)
    expect(rows[0].row).not.toMatch(/example|secret-token/)
  })

  it('finds in the log what a crash kept from being released', async () => {
    await openNode().enqueue(mail('foo@example.org'), awaits('e-1'))
    await nodes.pop()!.stop()
    inLog.add('user-1 e-1')
    openNode()
    await expect.poll(recipients, wait).toEqual(['foo@example.org'])
    await expect.poll(waiting, wait).toEqual([])
  })

  it('drops a mail after ten minutes whose event never came', async () => {
    const node = openNode()
    await node.enqueue(mail('foo@example.org'), awaits('e-1'))
    await later('9 minutes')
    await expect.poll(async () => (await rows())[0]?.attempts, wait).toBe(1)
    await later('2 minutes')
    await expect.poll(waiting, wait).toEqual([])
    expect(recipients()).toEqual([])
  })

  it('keeps a mail whose event can not be looked up', async () => {
    const isInLog = async () => {
      throw new Error('the log is away')
    }
    const node = openNode({isInLog})
    await node.enqueue(mail('foo@example.org'), awaits('e-1'))
    await later('11 minutes')
    await expect.poll(async () => (await rows())[0]?.attempts, wait).toBe(1)
    expect(await waiting()).toEqual(['e-1'])
  })

  it('sends once where the log and the release tell of the event at the same time', async () => {
    let lookedUp = () => {}
    const looking = new Promise<void>((resolve) => {
      lookedUp = resolve
    })
    let answer = (_there: boolean) => {}
    const isInLog = () => {
      lookedUp()
      return new Promise<boolean>((resolve) => {
        answer = resolve
      })
    }
    const node = openNode({isInLog})
    await node.enqueue(mail('foo@example.org'), awaits('e-1'))
    await later('5 seconds')
    await looking
    await node.release('e-1')
    answer(true)
    await expect.poll(waiting, wait).toEqual([])
    await node.stop()
    expect(recipients()).toEqual(['foo@example.org'])
  })

  it('tries again with growing pauses while the server refuses', async () => {
    const node = openNode()
    refusal = 451
    await node.enqueue(mail('foo@example.org'), awaits('e-1'))
    await node.release('e-1')
    const pauseAfter = async (attempts: number) => {
      await expect
        .poll(async () => {
          const [row] = await rows()
          return row?.attempts === attempts && row.pause < 100
        }, wait)
        .toBe(true)
      return (await rows())[0]!.pause
    }
    expect(await pauseAfter(1)).toBeLessThan(10)
    await later('10 seconds')
    expect(await pauseAfter(2)).toBeGreaterThan(15)
    await pool.query('UPDATE state.mails SET attempts = 25')
    await later('10 hours')
    await expect.poll(async () => Math.round((await rows())[0]!.pause / 60), wait).toBe(60)
    refusal = 0
    await later('1 hour')
    await expect.poll(recipients, wait).toEqual(['foo@example.org'])
    await expect.poll(waiting, wait).toEqual([])
  })

  it('waits for a server that is down', async () => {
    const {port} = peer
    await peer.stop()
    const node = openNode()
    await node.enqueue(mail('foo@example.org'), awaits('e-1'))
    await node.release('e-1')
    await expect.poll(() => lines.join(''), wait).toContain('ECONNREFUSED')
    peer = await smtpPeer({port})
    await later('10 seconds')
    await expect.poll(recipients, wait).toEqual(['foo@example.org'])
  })

  it('gives a mail up after 24 hours, and says so without its address', async () => {
    refusal = 550
    const node = openNode()
    await node.enqueue(mail('foo@example.org'), awaits('e-1'))
    await node.release('e-1')
    await expect.poll(() => lines.join(''), wait).toContain('550')
    await later('25 hours')
    await expect.poll(waiting, wait).toEqual([])
    expect(lines.join('')).toContain('24 hours')
    expect(recipients()).toEqual([])
  })

  it('sends each mail once from several nodes', async () => {
    const [a] = [openNode(), openNode(), openNode()]
    const addresses = Array.from({length: 40}, (_, n) => `p${n}@example.org`)
    for (const [n, to] of addresses.entries()) {
      await a!.enqueue(mail(to), awaits(`e-${n}`))
      await nodes[n % 3]!.release(`e-${n}`)
    }
    await expect.poll(waiting, wait).toEqual([])
    expect(recipients().sort()).toEqual(addresses.sort())
  })

  it('leaves a mail to another node when it is stopped while a server is silent', async () => {
    const {connected, url} = await silentServer()
    const stuck = openNode({}, url)
    await stuck.enqueue(mail('foo@example.org'), awaits('e-1'))
    await stuck.release('e-1')
    await connected
    expect((await rows())[0]!.pause).toBeGreaterThan(60)
    const start = performance.now()
    await stuck.stop()
    expect(performance.now() - start).toBeLessThan(5000)
    openNode()
    await later('10 seconds')
    await expect.poll(recipients, wait).toEqual(['foo@example.org'])
  })

  it('holds no connection while it sends', async () => {
    const {connected, url} = await silentServer()
    const single = newPool(1)
    const node = openNode({pool: single}, url)
    await node.enqueue(mail('foo@example.org'), awaits('e-1'))
    await node.release('e-1')
    await connected
    expect((await single.query('SELECT 1 AS one')).rows).toEqual([{one: 1}])
    const open = await pool.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`,
    )
    expect(open.rows).toEqual([])
    hangUp()
    await node.stop()
    await single.end()
  })

  it('sends at most four at once', async () => {
    const {sockets, url} = await silentServer()
    const node = openNode({}, url)
    for (let n = 0; n < 8; n += 1) {
      await node.enqueue(mail('foo@example.org'), awaits(`e-${n}`))
      await node.release(`e-${n}`)
    }
    await expect.poll(() => sockets.length, wait).toBe(4)
    expect((await rows()).filter(({attempts}) => attempts > 0)).toHaveLength(4)
  })

  it('is one mail when the same event is queued again', async () => {
    const node = openNode()
    await node.enqueue(mail('old@example.org'), awaits('e-1'))
    await node.enqueue(mail('new@example.org'), awaits('e-1'))
    await node.release('e-1')
    await expect.poll(waiting, wait).toEqual([])
    expect(recipients()).toEqual(['new@example.org'])
  })

  it('lets nothing go to who was erased meanwhile, and takes nothing for them', async () => {
    let key: Buffer | null = Buffer.alloc(32, 1)
    const node = openNode({keyOf: async () => key})
    await node.enqueue(mail('foo@example.org'), awaits('e-1'))
    key = null
    await node.enqueue(mail('foo@example.org'), awaits('e-2'))
    await node.release('e-1')
    await expect.poll(waiting, wait).toEqual([])
    expect(recipients()).toEqual([])
  })

  it('takes no more than 10,000', async () => {
    const node = openNode()
    await pool.query(
      `INSERT INTO state.mails (event_id, stream, sealed, next_try)
       SELECT 'x-' || n, 's', '', now() + interval '1 hour' FROM generate_series(1, 9999) n`,
    )
    await node.enqueue(mail('foo@example.org'), awaits('e-1'))
    await expect(node.enqueue(mail('bar@example.org'), awaits('e-2'))).rejects.toThrow(MailQueueFull)
  })

  it('neither sends nor drops what another key sealed', async () => {
    await openNode().enqueue(mail('foo@example.org'), awaits('e-1'))
    await nodes.pop()!.stop()
    const other = openNode({keyOf: async () => Buffer.alloc(32, 2)})
    await other.release('e-1')
    await expect.poll(() => lines.join(''), wait).toContain('tried again later')
    expect(await waiting()).toEqual(['e-1'])
    expect(recipients()).toEqual([])
  })

  it('does not fail the release when the database is away, and goes on when it is back', async () => {
    const broken = newPool()
    const node = openNode({pool: broken})
    await node.enqueue(mail('foo@example.org'), awaits('e-1'))
    inLog.add('user-1 e-1')
    const outside = new pg.Client(inject('postgresUrl'))
    await outside.connect()
    const {database: name} = new pg.Client(database)
    await outside.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`)
    await outside.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name])
    await node.release('e-1')
    expect(lines.join('')).toContain('released late')
    await outside.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`)
    await outside.end()
    await later('5 seconds')
    await expect.poll(recipients, wait).toEqual(['foo@example.org'])
    await node.stop()
    await broken.end()
  })
})
