import {existsSync} from 'node:fs'
import {readFile} from 'node:fs/promises'
import {fileURLToPath} from 'node:url'
import {describe, expect, it} from 'vitest'
import {ourOpenApi} from './support/conformance.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string) => readFile(root + path, 'utf8')

/** The files between backticks, each with the line it stands in. */
const filesIn = (text: string) =>
  text
    .split('\n')
    .flatMap((line) =>
      [...line.matchAll(/`((?:src|test|web|deploy|docs)\/[\w./*-]+)`/g)].map(([, file]) => ({file: file!, line})),
    )

describe('the documents', () => {
  it.each(['docs/contract.md', 'docs/security.md', 'docs/reliability.md'])(
    '%s names only files that are there',
    async (document) => {
      const named = filesIn(await read(document))
      expect(named.length).toBeGreaterThan(20)
      for (const {file, line} of named) expect(existsSync(root + file), line).toBe(true)
    },
  )

  it('docs/contract.md has one test file for each row, and a row for each route', async () => {
    const text = await read('docs/contract.md')
    const rows = text.split('\n').filter((line) => line.startsWith('| ') && !line.endsWith('proved by |'))
    for (const row of rows) expect(row).toMatch(/^\| .+ \| `test\/[\w/]+\.test\.ts` \|$/)
    for (const [path, methods] of Object.entries(ourOpenApi().paths)) {
      for (const method of Object.keys(methods)) {
        expect(
          rows.some((row) => row.includes(`${method.toUpperCase()} \`${path}\``)),
          `${method} ${path}`,
        ).toBe(true)
      }
    }
  })

  it('docs/security.md judges each requirement once, and says of each that is met where', async () => {
    const rows = (await read('docs/security.md')).split('\n').filter((line) => /^\| \d/.test(line))
    const numbers = rows.flatMap((row) => row.split(' | ')[0]!.match(/\d+\.\d+\.\d+/g)!)
    expect(new Set(numbers).size).toBe(numbers.length)
    for (const row of rows) {
      const [, , verdict, by] = row.split(' | ').map((cell) => cell.replace(/^\|\s*|\s*\|$/g, ''))
      expect(['yes', 'partly', 'no', 'operator'], row).toContain(verdict)
      if (verdict === 'yes') expect(by, row).toMatch(/`(src|test|web|deploy|docs)\//)
    }
  })
})
