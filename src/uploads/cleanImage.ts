import {execFile} from 'node:child_process'
import {readFile, stat, writeFile} from 'node:fs/promises'
import {fileURLToPath} from 'node:url'
import {promisify} from 'node:util'
import {type FileRefusal, isFileRefusal, StorageUnavailable, TooManyImages} from './file.ts'
import {type ImageType, stripMetadata} from './stripMetadata.ts'

/** Images that may wait for their turn; the next one is refused with {@link TooManyImages}. */
const WAITING_IMAGES = 16
const DECODE_MS = 30_000
const DECODER = fileURLToPath(new URL('./decodeImage.ts', import.meta.url))

const run = promisify(execFile)

/**
 * Writes to `to` what the image at `from` shows and nothing else, and gives its size. Metadata goes without touching the
 * compressed pixels; only an image that its EXIF turns is encoded again, upright.
 */
export const cleanImage = (from: string, to: string, type: ImageType): Promise<{bytes: number} | FileRefusal> =>
  inTurn(async () => {
    const stripped = stripMetadata(await readFile(from), type)
    if (!stripped) return damaged
    await writeFile(to, stripped.clean, {mode: 0o600})
    const refusal = await decode(from, to, type, stripped.frames)
    return refusal ?? {bytes: (await stat(to)).size}
  })

const damaged: FileRefusal = {refused: 'INVALID', why: 'is damaged, or takes too long to decode'}

/**
 * In a process of its own, without the server's environment: strangers' files meet decoders written in C, and an image of
 * 50 megapixels left the server several hundred MB larger. It costs about 150 ms.
 */
const decode = async (from: string, to: string, type: ImageType, frames: number): Promise<FileRefusal | null> => {
  try {
    const options = {env: {}, timeout: DECODE_MS, killSignal: 'SIGKILL'} as const
    const {stdout} = await run(process.execPath, [DECODER, from, to, type, String(frames)], options)
    const answer: object = JSON.parse(stdout)
    return isFileRefusal(answer) ? answer : null
  } catch (error) {
    const {killed, signal} = error as {killed?: boolean; signal?: string}
    if (killed || /^SIG(SEGV|ABRT|BUS|ILL|FPE)$/.test(signal ?? '')) return damaged
    throw new StorageUnavailable('the process that decodes images ended', {cause: error})
  }
}

let last: Promise<unknown> = Promise.resolve()
let waiting = 0

/** One image at a time: a decoded one takes up to 200 MB. */
const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
  if (waiting > WAITING_IMAGES) throw new TooManyImages('too many images wait to be cleaned')
  waiting++
  const done = last.then(work).finally(() => waiting--)
  last = done.catch(() => {})
  return done
}
