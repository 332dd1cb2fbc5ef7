import {Command} from 'commander'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import {type Report, reports, withOperator} from './operator.ts'
import {dataOf, printable, styled, told} from './output.ts'
import {type ToldEvent, tell} from './toldEvent.ts'

/** Of a chain that is longer the first are shown. */
const MAX_EVENTS = 10_000

export const auditTrace = (): Command =>
  reports(
    new Command('trace')
      .argument('<id>', "of an event, or of a request, as an answer's requestId names it")
      .description('what caused what: all that one request, or one command, led to, as a tree')
      .addHelpText('after', '\nExample:\n  npm run -s community -- audit trace 6f0c9a9e-0d0f-4b5e-9d52-0a8a0f6f3c1e'),
    trace,
  )

type Caused = ToldEvent & {caused: Caused[]}

const trace = (given: string): Promise<Report> => {
  const id = given.toLowerCase()
  return withOperator(async ({log, codec}) => {
    const correlationId = await correlationOf(log, id)
    if (correlationId === null) {
      return {json: {ok: false, id}, text: `Nothing in the log bears the id ${printable(id)}.`, failed: true}
    }
    const {records, more} = await chainOf(log, correlationId)
    const roots = treeOf(await tell(codec, records))
    const rest = more === 0 ? [] : [`and ${more} more`]
    return {
      json: {correlationId, events: roots, more},
      text: [
        styled('dim', `request ${printable(correlationId)}`),
        ...roots.flatMap((one) => drawn(one, id)),
        ...rest,
      ].join('\n'),
    }
  })
}

/** Of the event with this id; or the id itself, where a chain bears it. */
const correlationOf = async (log: EventLog, id: string): Promise<string | null> => {
  for await (const page of log.readAll()) {
    const found = page.find((record) => record.id === id || record.metadata.correlationId === id)
    if (found) return String(found.metadata.correlationId)
  }
  return null
}

/** All that bears the correlation, and what names one of these as its cause, in log order. */
const chainOf = async (log: EventLog, correlationId: string): Promise<{records: LogRecord[]; more: number}> => {
  const records: LogRecord[] = []
  const ids = new Set<unknown>()
  let more = 0
  for await (const page of log.readAll()) {
    for (const record of page) {
      if (record.metadata.correlationId !== correlationId && !ids.has(record.metadata.causationId)) continue
      if (records.length === MAX_EVENTS) more++
      else {
        records.push(record)
        ids.add(record.id)
      }
    }
  }
  return {records, more}
}

/** What has no cause among these is a root. A cause comes before what it caused, so each is met in time. */
const treeOf = (events: readonly ToldEvent[]): Caused[] => {
  const roots: Caused[] = []
  const byId = new Map<string, Caused>()
  for (const event of events) {
    const node = {...event, caused: []}
    const cause = event.causationId === null ? undefined : byId.get(event.causationId)
    ;(cause?.caused ?? roots).push(node)
    byId.set(event.id, node)
  }
  return roots
}

/** The event that was asked for is told apart. */
const drawn = (node: Caused, wanted: string, before = '', branch = ''): string[] => {
  const {id, position, time, type, stream, actor, command} = node
  const isWanted = id === wanted
  const name = styled(isWanted ? ['bold', 'yellow'] : 'cyan', told(type))
  const line = `${before}${branch}${isWanted ? '▶ ' : ''}${name}  ${told(stream)}  ${dataOf(node)}`
  const within = before + (branch === '' ? '' : branch === '└─ ' ? '   ' : '│  ')
  const rail = node.caused.length > 0 ? '│  ' : '   '
  const about = `${position}  ${time}  ${told(actor)}  ${told(command)}  ${id}`
  return [
    line,
    `${within}${rail}${styled('dim', about)}`,
    ...node.caused.flatMap((one, index) =>
      drawn(one, wanted, within, index === node.caused.length - 1 ? '└─ ' : '├─ '),
    ),
  ]
}
