import {Command, Option} from 'commander'
import {catalogue} from '../domain/catalogue.ts'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import {cloudEventOf, lineOf as cloudLineOf} from '../proof/cloudEvent.ts'
import {type Moment, parseMoment, timeOf} from './moment.ts'
import {WrongUsage, withOperator} from './operator.ts'
import {dataOf, printable, styled, told, writeOut} from './output.ts'
import {type ToldEvent, tell} from './toldEvent.ts'

const FORMATS = ['table', 'ndjson', 'cloudevents'] as const

type Options = {
  stream?: string
  type?: string[]
  actor?: string
  since?: string
  until?: string
  follow?: true
  format: (typeof FORMATS)[number]
  json?: true
}

export const auditLog = (): Command =>
  new Command('log')
    .description('events, oldest first')
    .option('--stream <name>', 'of this stream, like room-r-… or operations')
    .option('--type <types...>', 'of these types')
    .option('--actor <id>', 'by this person or bot, or by operator')
    .option('--since <time|position>', 'from then on')
    .option('--until <time|position>', 'up to then')
    .option('--follow', 'and those that come, until it is interrupted')
    .addOption(new Option('--format <format>', 'for people, or for programs').choices(FORMATS).default('table'))
    .option('--json', 'one JSON document')
    .addHelpText(
      'after',
      '\nExample:\n  npm run -s community -- audit log --actor operator --since 2026-11-24 --format ndjson',
    )
    .action(showLog)

const showLog = (options: Options): Promise<void> => {
  const filter = filterOf(options)
  if (options.follow && (options.until !== undefined || options.json))
    throw new WrongUsage('--follow has no end: leave out --until and --json.')
  return withOperator(async (operator) => {
    const stop = new AbortController()
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
    const {log, codec, logIdentity} = operator
    const events = matching(log, filter, {follow: options.follow === true, stop})
    const asJson = async (records: LogRecord[]) =>
      (await tell(codec, records)).map((event) => printable(JSON.stringify(event)))
    // As stored: an excerpt of what `audit export` gives, so each can be proven to be in a seal.
    const asCloudEvents = async (records: LogRecord[]) =>
      records.map((record) => cloudLineOf(cloudEventOf(record, logIdentity)))
    const width = Math.max('POSITION'.length, String((await log.head()) ?? 0n).length)
    const asTable = async (records: LogRecord[]) => (await tell(codec, records)).map((event) => lineOf(event, width))
    const parts = options.json
      ? asDocument(events, options.format === 'cloudevents' ? asCloudEvents : asJson)
      : options.format === 'table'
        ? asLines(styled('dim', headOf(width)), events, asTable)
        : asLines('', events, options.format === 'cloudevents' ? asCloudEvents : asJson)
    await writeOut(parts, stop)
  })
}

type Filter = {stream: string | null; since: Moment | null; isWanted: (record: LogRecord) => boolean}

const filterOf = ({stream, type, actor, since, until}: Options): Filter => {
  const unknown = type?.find((one) => !catalogue.has(one))
  if (unknown !== undefined)
    throw new WrongUsage(`There is no event type ${unknown}: there are ${[...catalogue.keys()].join(', ')}.`)
  const [from, to] = [since, until].map((text) => (text === undefined ? null : parseMoment(text)))
  const isBefore = (record: LogRecord, moment: Moment): boolean =>
    'time' in moment ? timeOf(record) < moment.time : record.position < moment.position
  const isAfter = (record: LogRecord, moment: Moment): boolean =>
    'time' in moment ? timeOf(record) > moment.time : record.position > moment.position
  return {
    stream: stream ?? null,
    since: from!,
    isWanted: (record) =>
      (stream === undefined || record.stream === stream) &&
      (type === undefined || type.includes(record.type)) &&
      (actor === undefined || record.metadata.actor === actor) &&
      !(from && isBefore(record, from)) &&
      !(to && isAfter(record, to)),
  }
}

/** What is there, a page at a time, and then, where it is followed, what comes. */
const matching = async function* (
  log: EventLog,
  {stream, since, isWanted}: Filter,
  {follow, stop}: {follow: boolean; stop: AbortController},
): AsyncGenerator<LogRecord[]> {
  const head = await log.head()
  // EventStoreDB reads on from an event only, so from where there is none it is read from the beginning.
  const first = since && 'position' in since ? await log.readAt(since.position) : null
  if (first && stream === null) yield [first].filter(isWanted)
  for await (const page of stream === null
    ? log.readAll({after: first?.position ?? null})
    : paged(log.readStream(stream))) {
    if (stop.signal.aborted) return
    yield page.filter((record) => isWanted(record) && (head === null || record.position <= head))
    if (head !== null && page.at(-1)!.position >= head) break
  }
  if (!follow) return
  for await (const page of log.subscribe({after: head, signal: stop.signal})) yield page.filter(isWanted)
}

const PAGE = 500

const paged = async function* (records: AsyncIterable<LogRecord>): AsyncGenerator<LogRecord[]> {
  let page: LogRecord[] = []
  for await (const record of records) {
    page.push(record)
    if (page.length < PAGE) continue
    yield page
    page = []
  }
  if (page.length > 0) yield page
}

/** `before` comes first, and each line is whole as soon as it is there. */
const asLines = async function* (
  before: string,
  pages: AsyncIterable<LogRecord[]>,
  write: (records: LogRecord[]) => Promise<string[]>,
): AsyncGenerator<string> {
  if (before !== '') yield `${before}\n`
  for await (const page of pages) if (page.length > 0) yield `${(await write(page)).join('\n')}\n`
}

const asDocument = async function* (
  pages: AsyncIterable<LogRecord[]>,
  write: (records: LogRecord[]) => Promise<string[]>,
): AsyncGenerator<string> {
  let before = '[\n'
  for await (const page of pages) {
    if (page.length === 0) continue
    yield before + (await write(page)).join(',\n')
    before = ',\n'
  }
  yield before === '[\n' ? '[]\n' : '\n]\n'
}

/** An identity's stream is the one that is longer, and its data has the rest. */
const shortened = (text: string, length: number): string =>
  text.length > length ? `${text.slice(0, length - 1)}…` : text

/** As wide as what stands in them mostly is: the widest is not known before it comes. The last one takes the rest. */
const WIDTHS = {time: 24, type: 22, actor: 34, stream: 40}

const headOf = (width: number): string =>
  [
    'POSITION'.padStart(width),
    'TIME'.padEnd(WIDTHS.time),
    'TYPE'.padEnd(WIDTHS.type),
    'ACTOR'.padEnd(WIDTHS.actor),
    'STREAM'.padEnd(WIDTHS.stream),
    'DATA',
  ].join('  ')

const lineOf = (event: ToldEvent, width: number): string =>
  [
    event.position.padStart(width),
    styled('dim', told(event.time).padEnd(WIDTHS.time)),
    styled(event.fault === undefined ? 'cyan' : 'red', told(event.type).padEnd(WIDTHS.type)),
    told(event.actor).padEnd(WIDTHS.actor),
    shortened(told(event.stream), WIDTHS.stream).padEnd(WIDTHS.stream),
    event.fault === undefined ? dataOf(event) : styled('red', printable(event.fault)),
  ].join('  ')
