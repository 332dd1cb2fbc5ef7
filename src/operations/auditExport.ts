import {Command} from 'commander'
import type {EventLog} from '../log/eventLog.ts'
import {readIdentity} from '../log/history.ts'
import {cloudEventOf, lineOf} from '../proof/cloudEvent.ts'
import {withLog} from './operator.ts'
import {writeOut} from './output.ts'
import {openProgress} from './progress.ts'

export const auditExport = (): Command =>
  new Command('export')
    .description('the whole log to stdout, as CloudEvents 1.0 in NDJSON; personal data stays sealed')
    .option('--json', 'one JSON document: a batch of CloudEvents')
    .addHelpText('after', '\nExample:\n  npm run -s community -- audit export > log.ndjson')
    .action(({json = false}: {json?: boolean}) =>
      withLog(({log}) => writeOut(json ? batched(linesOf(log)) : ended(linesOf(log)))),
    )

/** One string a page: what the reader of stdout has not taken is not read from the log. */
const linesOf = async function* (log: EventLog): AsyncGenerator<string[]> {
  const identity = await readIdentity(log)
  const head = await log.head()
  if (identity === null || head === null) return
  const progress = openProgress('export', head, 0n)
  try {
    for await (const page of log.readAll()) {
      yield page.map((record) => lineOf(cloudEventOf(record, identity)))
      progress.advance(page.length, page.at(-1)!.position)
    }
  } finally {
    progress.stop()
  }
}

const ended = async function* (pages: AsyncIterable<string[]>): AsyncGenerator<string> {
  for await (const lines of pages) yield `${lines.join('\n')}\n`
}

const batched = async function* (pages: AsyncIterable<string[]>): AsyncGenerator<string> {
  let before = '[\n'
  for await (const lines of pages) {
    yield `${before}${lines.join(',\n')}`
    before = ',\n'
  }
  yield before === '[\n' ? '[]\n' : '\n]\n'
}
