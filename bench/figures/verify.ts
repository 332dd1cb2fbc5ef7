import {randomUUID} from 'node:crypto'
import {Client, Pool} from 'pg'
import type {EventLog} from '../../src/log/eventLog.ts'
import {readIdentity} from '../../src/log/history.ts'
import {openPostgresLog} from '../../src/log/postgresLog.ts'
import {sealLog} from '../../src/proof/sealLog.ts'
import {signingKeyOf} from '../../src/proof/signingKey.ts'
import {PROOF_DDL} from '../../src/proof/tiles.ts'
import {verifyLog} from '../../src/proof/verifyLog.ts'
import {type Bench, type Figure, inTurn, judge, type Row} from '../harness.ts'
import {onServerCore} from '../place.ts'
import {settle} from '../world.ts'

const LEAVES_OUT =
  'starting the process and connecting; a database on another machine, where reading costs more and hashing does not; EventStoreDB.'

/** Messages in a hundred rooms, sealed as they are in a log: fields of the size that the codec writes. */
const fill = (events: number) => async (url: string) => {
  const log = await openPostgresLog({url})
  const data = {identity: randomUUID(), keyCheck: ''}
  await log.append('history', [{id: randomUUID(), type: 'HistoryBegan', data, metadata: {}}], 'none')
  await log.close()
  const client = new Client({connectionString: url})
  await client.connect()
  await client.query(PROOF_DDL)
  await client.query(`
    INSERT INTO log.events (position, stream, revision, id, type, data, metadata)
    SELECT n + 1, 'chat-r-' || n % 100, (n - 1) / 100, gen_random_uuid(), 'MessageSent',
      json_build_object('roomId', 'r-' || n % 100, 'messageId', gen_random_uuid(), 'seq', (n - 1) / 100,
        'senderId', 'email_' || md5((n % 1000)::text), 'isBot', false, 'nonce', NULL,
        'sentAt', '2025-01-01T00:00:00.000Z', 'sealed', json_build_object('senderId',
          encode(sha256(n::text::bytea) || sha256((-n)::text::bytea) || sha256(('x' || n)::bytea), 'base64'))),
      json_build_object('version', 1, 'time', '2025-01-01T00:00:00.000Z', 'actor', 'email_' || md5((n % 1000)::text),
        'command', 'sendMessage', 'correlationId', gen_random_uuid(), 'causationId', NULL)
    FROM generate_series(1, ${events - 1}) n;
    UPDATE log.head SET position = ${events}`)
  await client.end()
  await settle(url)
}

const read = async (log: EventLog): Promise<number> => {
  let events = 0
  for await (const page of log.readAll()) events += page.length
  return events
}

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const began = performance.now()
  await work()
  return (performance.now() - began) / 1_000
}

const verified = async (bench: Bench, events: number): Promise<Row> => {
  const url = await bench.place.database(`sealed_${events}`, fill(events))
  const pool = new Pool({connectionString: url, max: 2})
  const log = await openPostgresLog({url})
  try {
    const identity = (await readIdentity(log))!
    const seal = await sealLog({pool, log, identity, key: signingKeyOf(Buffer.alloc(32, 1)), earlier: null})
    if (seal.size !== events) throw new Error(`${seal.size} events are sealed, and not ${events}`)
    const samples = await inTurn(
      bench,
      {
        ours: () =>
          onServerCore(() =>
            timed(async () => {
              const {differs} = await verifyLog({pool, log, seal})
              if (differs) throw new Error('the log is not what was sealed')
            }),
          ),
        bare: () => onServerCore(() => timed(() => read(log))),
      },
      // So long that what comes first is no matter.
      {afresh: events > 100_000},
    )
    return judge({
      figure: `audit verify, ${events.toLocaleString('en')} events`,
      against: 'a bare read of the same log',
      unit: 's',
      ours: samples.ours,
      baseline: samples.bare,
      atMost: 3,
      leavesOut: LEAVES_OUT,
    })
  } finally {
    await log.close()
    await pool.end()
  }
}

export const verify: Figure = {
  name: 'verify',
  measure: async (bench) =>
    bench.quick ? [await verified(bench, 2_000)] : [await verified(bench, 100_000), await verified(bench, 1_000_000)],
}
