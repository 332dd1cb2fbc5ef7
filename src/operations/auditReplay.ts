import {Command} from 'commander'
import {Client} from 'pg'
import {replay, targetIn} from '../projections/replays.ts'
import {tables} from '../projections/tables.ts'
import {historyUpTo, parseMoment} from './moment.ts'
import {columns, type Report, reports, WrongUsage, withOperator} from './operator.ts'
import {openProgress} from './progress.ts'

export const auditReplay = (): Command =>
  reports(
    new Command('replay')
      .requiredOption('--as-of <time|position>', 'the moment: a time in UTC, or a position in the log')
      .requiredOption('--schema <name>', 'a schema that is not there yet')
      .description('the read tables as they stood, in a schema of their own, to query with SQL')
      .addHelpText(
        'after',
        '\nExample:\n  npm run -s community -- audit replay --as-of 2026-11-24T18:00:00Z --schema tuesday',
      ),
    replayAsOf,
  )

const OURS = ['information_schema', 'keys', 'log', 'proof', 'public', 'read', 'state']

const replayAsOf = ({asOf, schema}: {asOf: string; schema: string}): Promise<Report> => {
  const moment = parseMoment(asOf)
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema))
    throw new WrongUsage(
      `${schema} can not be the name of the schema: it takes a to z, 0 to 9 and _, at most 63 of them.`,
    )
  if (OURS.includes(schema) || schema.startsWith('pg_'))
    throw new WrongUsage(`${schema} is taken by the server or by PostgreSQL: choose another name.`)
  return withOperator(async ({url, log, codec}) => {
    const client = new Client({connectionString: url, application_name: 'community replay'})
    await client.connect()
    const progress = openProgress('replay', (await log.head()) ?? 0n, 0n)
    try {
      const history = async function* () {
        for await (const page of historyUpTo(log, moment)) {
          yield page
          progress.advance(page.length, page.at(-1)!.position)
        }
      }
      const {events, position} = await replay(client, codec, {schema, tables, asOf: `as of ${asOf}`}, history())
      const rows: {[table: string]: number} = {}
      for (const table of tables) {
        const counted = await client.query<{count: string}>(`SELECT count(*) FROM ${targetIn(schema, table)}`)
        rows[table.name] = Number(counted.rows[0]!.count)
      }
      return {
        json: {ok: true, schema, events, position: position?.toString() ?? null, rows},
        text: [
          `${schema} holds the read tables as they stood at position ${position ?? 0n}, after ${events} events.`,
          columns(Object.entries(rows).map(([name, count]) => [`${schema}.${name}`, String(count)])),
          `It is gone with the next erasure, or by DROP SCHEMA ${schema} CASCADE.`,
        ].join('\n'),
      }
    } finally {
      progress.stop()
      await client.end().catch(() => {})
    }
  })
}
