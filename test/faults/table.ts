import type {Reporter} from 'vitest/node'
import type {Row} from './checker.ts'

const COLUMNS: [string, (row: Row) => string | number][] = [
  ['fault', ({fault}) => fault],
  ['times', ({times}) => times],
  ['acknowledged', ({acknowledged}) => acknowledged],
  ['lost', ({lost}) => lost],
  ['doubled', ({doubled}) => doubled],
  ['out of order', ({outOfOrder}) => outOfOrder],
  ['longest outage', ({longestOutageMs}) => `${(longestOutageMs / 1_000).toFixed(1)} s`],
]

/** Prints what each fault did, as a table for docs/reliability.md. */
export const printTable: Reporter = {
  onTestRunEnd: (modules) => {
    const rows = modules
      .flatMap((module) => [...module.children.allTests()])
      .flatMap((test) => test.meta().fault ?? [])
      .sort((a, b) => a.fault.localeCompare(b.fault))
    const lines = [
      COLUMNS.map(([name]) => name),
      COLUMNS.map(() => '---'),
      ...rows.map((row) => COLUMNS.map(([, value]) => value(row))),
    ]
    process.stdout.write(`\n${lines.map((line) => `| ${line.join(' | ')} |`).join('\n')}\n`)
  },
}
