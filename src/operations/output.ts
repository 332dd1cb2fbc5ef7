import {once} from 'node:events'
import {styleText} from 'node:util'

/**
 * Writes to stdout no faster than it is read. Where nobody reads any more, as behind `head`, `stop` is given and it ends: that
 * is no failure, and all else that befalls stdout is one.
 */
export const writeOut = async (
  parts: AsyncIterable<string> | Iterable<string>,
  stop = new AbortController(),
): Promise<void> => {
  const {stdout} = process
  const faults: Error[] = []
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') faults.push(error)
    stop.abort()
  })
  for await (const part of parts) {
    if (stop.signal.aborted) break
    if (!stdout.write(part)) await once(stdout, 'drain', {signal: stop.signal}).catch(() => {})
  }
  // What the last write met is told to nobody before this one is done.
  if (!stop.signal.aborted) await new Promise((done) => stdout.write('', done))
  for (const fault of faults) throw fault
}

/**
 * What people wrote, fit for a terminal: what steers one, or turns text around, is shown by its number. It stays JSON
 * where it was JSON.
 */
export const printable = (text: string): string =>
  text.replace(
    /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

type Style = Parameters<typeof styleText>[0]

/** Colour on a terminal only, and not where NO_COLOR is set. */
export const styled = (style: Style, text: string): string =>
  process.stdout.isTTY ? styleText(style, text, {stream: process.stdout}) : text

/** A value of an event in a line for people. */
export const told = (value: unknown): string => {
  if (value === null || value === undefined) return '-'
  if (typeof value === 'string' && value !== '' && !/[\s"=]/.test(value)) return printable(value)
  return printable(JSON.stringify(value))
}

/** What a long text is cut to in a line for people: NDJSON has it whole. */
const TOLD_CHARACTERS = 80

export const dataOf = ({data}: {data: {[field: string]: unknown}}): string =>
  Object.entries(data)
    .filter(([, value]) => value !== undefined)
    .map(([field, value]) => {
      const text = told(value)
      const cut = text.length > TOLD_CHARACTERS ? `${text.slice(0, TOLD_CHARACTERS)}…` : text
      return `${styled('dim', `${field}=`)}${cut}`
    })
    .join(' ')
