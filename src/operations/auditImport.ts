import {createReadStream} from 'node:fs'
import {Command} from 'commander'
import {readBeginning} from '../log/history.ts'
import {recordIn} from '../proof/cloudEvent.ts'
import {copyInto, NotACopy} from '../proof/copyInto.ts'
import type {SealedRecord} from '../proof/leaf.ts'
import {beginCopy, endCopy, isCopyUnfinished} from '../proof/unfinishedCopy.ts'
import {readKeys} from './backup.ts'
import {linesIn} from './linesIn.ts'
import {type LogKeeper, type Report, reports, withLog} from './operator.ts'
import {openProgress} from './progress.ts'

const LINES_AT_ONCE = 500

/** What can't be imported, in one sentence for the operator. */
export class ImportRefused extends Error {
  override name = 'ImportRefused'
}

export const auditImport = (): Command =>
  reports(
    new Command('import')
      .argument('[file]', 'what audit export wrote; without it, stdin')
      .description(
        'an exported log into a log that holds no event; no server may run. A killed one goes on when it is run again',
      )
      .option('--keys <file>', 'the keys that backup --keys wrote: without them a server can not read the log')
      .addHelpText('after', '\nExample:\n  npm run -s community -- audit import log.ndjson --keys /safe/monday.keys'),
    (file: string | undefined, {keys}: {keys?: string}) =>
      withLog((keeper) => importFrom(keeper, file, keys), {mayBeUnfinished: true}),
  )

const importFrom = async (keeper: LogKeeper, file: string | undefined, keys: string | undefined): Promise<Report> => {
  const {pool, log} = keeper
  if (await keeper.isServed()) throw new ImportRefused('A server is running on this database: stop it first.')
  const isEmpty = (await log.head()) === null
  if (!isEmpty && !(await isCopyUnfinished(pool, log.adapter)))
    throw new ImportRefused('The log holds events: import wants one that holds none, not even its identity.')
  // A file is looked through before anything is written; stdin can be read only once.
  const lines = file === undefined ? null : await countOf(file)
  const begin = async () => {
    await beginCopy(pool, log.adapter)
    if (isEmpty && keys !== undefined) await readKeys(pool, keys)
  }
  const progress = openProgress('import', BigInt(lines ?? 0), 0n)
  let read = 0
  try {
    const source = recordsOf(file === undefined ? process.stdin : createReadStream(file))
    const {events, appended, root} = await copyInto(log, source, {
      begin,
      onPage: (count) => {
        read += count
        progress.advance(count, BigInt(read))
      },
    })
    if (events === 0) throw new ImportRefused('There is nothing to import: the input is empty.')
    await endCopy(pool, log.adapter)
    const isReadable = (await keeper.readKeyCheck()) === (await readBeginning(log))?.keyCheck
    const text = `${events} events are in the log${appended < events ? `, ${appended} of them new` : ''}. Their root is ${root}`
    return {json: {events, appended, root, keys: isReadable}, text: isReadable ? text : `${text}\n${NO_KEYS}`}
  } catch (error) {
    throw error instanceof NotACopy
      ? new ImportRefused(`Line ${error.index + 1} is not what the log holds: ${error.message}.`)
      : error
  } finally {
    progress.stop()
  }
}

const NO_KEYS =
  'Its keys are not in this database: it can be sealed, verified and exported, but no server starts on it. Import it with --keys into another for that.'

const countOf = async (file: string): Promise<number> => {
  let count = 0
  for await (const records of recordsOf(createReadStream(file))) count += records.length
  return count
}

/** What the lines say. Throws at the first one that is wrong, with its number. */
const recordsOf = async function* (input: AsyncIterable<Buffer>): AsyncGenerator<SealedRecord[]> {
  const next = new Map<string, number>()
  const ids = new Set<string>()
  let first: string | null = null
  let records: SealedRecord[] = []
  let number = 0
  const wrong = (why: string): never => {
    throw new ImportRefused(`Line ${number} can not be imported: ${why}.`)
  }
  const lines = linesIn(input)
  for (;;) {
    number++
    const {value: line, done} = await lines.next().catch(() => wrong('it is not UTF-8'))
    if (done) break
    const read = recordIn(line)
    if ('wrong' in read) return wrong(read.wrong)
    const {record, source} = read
    first ??= source
    if (number === 1 && (record.type !== 'HistoryBegan' || source !== `urn:uuid:${record.data.identity}`))
      wrong('an export begins with HistoryBegan, and every line bears its identity')
    if (source !== first) wrong(`it is of another log: ${source}`)
    const expected = next.get(record.stream) ?? 0
    if (record.revision !== expected)
      wrong(
        `revision ${expected} of ${record.stream} should be here, and not ${record.revision}: a line is missing, twice or out of order`,
      )
    next.set(record.stream, expected + 1)
    if (ids.has(record.id)) wrong(`an earlier line has the same id, ${record.id}`)
    ids.add(record.id)
    records.push(record)
    if (records.length < LINES_AT_ONCE) continue
    yield records
    records = []
  }
  yield records
}
