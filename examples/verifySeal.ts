// Whether an exported log is what a seal is of: yes (exit status 0) or no (1), with the reason. It uses nothing of the
// server's code, so that nobody needs to trust that: RFC 8785 (canonical JSON), RFC 6962 (Merkle tree), RFC 8032 (Ed25519).
//
//   node examples/verifySeal.ts seal.json [--export log.ndjson] [--earlier older.json] [--proof proof.json] [--key base64]
//
// --key is the public key that you were given by another way than the seal; without it, the one in the seal is believed.
import {createHash, createPublicKey, verify} from 'node:crypto'
import {createReadStream, readFileSync} from 'node:fs'
import {parseArgs} from 'node:util'

type Seal = {
  format: number
  identity: string
  size: number
  root: string
  time: string
  extends?: {size: number; root: string; path: string[]}
  publicKey: string
  signature: string
}
type Event = {id: string; type: string; subject: string; revision: number; metadata: string; data: unknown}
type Proof = {event: Event; index: number; path: string[]; seal: Seal}

class No extends Error {}
const insist = (isSo: boolean, otherwise: string) => {
  if (!isSo) throw new No(otherwise)
}

const sha256 = (...parts: (Buffer | string)[]): Buffer =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()
const node = (left: Buffer, right: Buffer): Buffer => sha256('\x01', left, right)
const bytes = (hex: string): Buffer => {
  insist(/^[0-9a-f]{64}$/.test(hex), `${hex} is no SHA-256`)
  return Buffer.from(hex, 'hex')
}
const half = (n: number): number => Math.floor(n / 2)

/** RFC 8785: what JSON.stringify writes, with the keys in the order of their UTF-16 code units. */
const canonical = (value: unknown): string => {
  if (typeof value === 'string') insist(value.isWellFormed(), 'a text is not Unicode')
  if (typeof value === 'number') insist(Number.isFinite(value), 'a number is none of JSON')
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([key, inner]) => `${canonical(key)}:${canonical(inner)}`).join()}}`
}

/** RFC 6962, section 2.1: SHA-256(0x00 ‖ entry). What else the event says follows from the entry and the seal. */
const leafOf = ({id, type, subject, revision, metadata, data, ...more}: Event, {identity}: Seal): Buffer => {
  const entry = {id, type, stream: subject, revision, metadata: JSON.parse(metadata), data}
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(entry.metadata.time) && {time: entry.metadata.time}
  const said = {specversion: '1.0', source: `urn:uuid:${identity}`, ...time, datacontenttype: 'application/json'}
  const isSo = canonical(more) === canonical(said) && metadata === canonical(entry.metadata)
  insist(isSo, `time, source or another attribute of event ${id} is not what was sealed`)
  return sha256('\x00', canonical(entry))
}

/** A tree that grows: the roots of its perfect subtrees, from the left. */
const grow = () => {
  const peaks: {hash: Buffer; size: number}[] = []
  return {
    add: (leaf: Buffer): void => {
      let hash = leaf
      let size = 1
      for (; peaks.at(-1)?.size === size; size *= 2) hash = node(peaks.pop()!.hash, hash)
      peaks.push({hash, size})
    },
    root: (): string =>
      peaks
        .map(({hash}) => hash)
        .reduceRight((right, left) => node(left, right))
        .toString('hex'),
  }
}

/** RFC 9162, section 2.1.3.2. */
const rootOfInclusion = (leaf: Buffer, index: number, size: number, path: string[]): string => {
  insist(Number.isSafeInteger(index) && index >= 0 && index < size, 'the proof is of an event past the seal')
  let [fn, sn, hash] = [index, size - 1, leaf]
  for (const beside of path.map(bytes)) {
    insist(sn > 0, 'the proof is too long')
    if (fn % 2 === 1 || fn === sn) {
      hash = node(beside, hash)
      while (fn % 2 === 0 && fn > 0) [fn, sn] = [half(fn), half(sn)]
    } else hash = node(hash, beside)
    ;[fn, sn] = [half(fn), half(sn)]
  }
  insist(sn === 0, 'the proof is too short')
  return hash.toString('hex')
}

/** RFC 9162, section 2.1.4.2: whether the tree of the seal begins with the earlier one. */
const isConsistent = (seal: Seal, {size, root, path}: NonNullable<Seal['extends']>): boolean => {
  if (size === seal.size) return root === seal.root && path.length === 0
  if (!(size >= 1 && size < seal.size)) return false
  const hashes = path.map(bytes)
  if (Number.isInteger(Math.log2(size))) hashes.unshift(bytes(root))
  const [first, ...rest] = hashes
  if (!first) return false
  let [fn, sn, fr, sr] = [size - 1, seal.size - 1, first, first]
  while (fn % 2 === 1) [fn, sn] = [half(fn), half(sn)]
  for (const beside of rest) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      fr = node(beside, fr)
      sr = node(beside, sr)
      while (fn % 2 === 0 && fn > 0) [fn, sn] = [half(fn), half(sn)]
    } else sr = node(sr, beside)
    ;[fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 && fr.toString('hex') === root && sr.toString('hex') === seal.root
}

const readJson = <T>(file: string): T => {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new No(`${file} can't be read as JSON: ${(error as Error).message}`)
  }
}

const readSeal = (file: string, trusted: string | undefined): Seal => {
  const {signature, ...signed} = readJson<Seal>(file)
  insist(signed.format === 1 && Number.isSafeInteger(signed.size) && signed.size > 0, `${file} is no seal`)
  insist(trusted === undefined || trusted === signed.publicKey, `${file} is signed by another key than yours`)
  const key = createPublicKey({key: Buffer.from(signed.publicKey, 'base64'), format: 'der', type: 'spki'})
  insist(key.asymmetricKeyType === 'ed25519', `${file} is not signed with Ed25519`)
  const isSigned = verify(null, Buffer.from(canonical(signed)), key, Buffer.from(signature, 'base64'))
  insist(isSigned, `${file} was changed after it was signed`)
  const seal = {...signed, signature}
  insist(!seal.extends || isConsistent(seal, seal.extends), `${file} does not extend the seal that it says it extends`)
  return seal
}

/** The file's lines, broken at \n alone. */
const linesIn = async function* (file: string): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of createReadStream(file, 'utf8')) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    yield* lines
  }
  if (rest !== '') yield rest
}

/** The root over the first events of the export, for each of these sizes. */
const rootsIn = async (file: string, seal: Seal, sizes: number[]): Promise<Map<number, string>> => {
  const [tree, roots] = [grow(), new Map<number, string>()]
  let size = 0
  for await (const line of linesIn(file)) {
    if (size === Math.max(...sizes)) break
    const event: Event = JSON.parse(line)
    const isBeginning = (event.data as Partial<Seal>).identity === seal.identity && event.type === 'HistoryBegan'
    insist(size > 0 || isBeginning, `${file} is of another log than the seal`)
    tree.add(leafOf(event, seal))
    size++
    if (sizes.includes(size)) roots.set(size, tree.root())
  }
  return roots
}

const check = async (): Promise<string[]> => {
  const text = {type: 'string'} as const
  const {values: named, positionals} = parseArgs({
    options: {export: text, earlier: text, proof: text, key: text},
    allowPositionals: true,
  })
  insist(positionals.length === 1, 'name one seal')
  const seal = readSeal(positionals[0]!, named.key)
  const found = [`the seal of ${seal.time} is signed by ${seal.publicKey}`]
  const earlier = named.earlier === undefined ? null : readSeal(named.earlier, named.key ?? seal.publicKey)
  if (named.export !== undefined) {
    const roots = await rootsIn(named.export, seal, [seal.size, ...(earlier ? [earlier.size] : [])])
    insist(roots.has(seal.size), `${named.export} holds fewer events than were sealed`)
    insist(roots.get(seal.size) === seal.root, `${named.export} is not what was sealed`)
    insist(!earlier || roots.get(earlier.size) === earlier.root, `${named.export} is not what was sealed earlier`)
    found.push(`${named.export} holds the ${seal.size} events that were sealed, in their order`)
  } else if (earlier) {
    const isExtended = seal.extends?.size === earlier.size && seal.extends.root === earlier.root
    insist(isExtended, 'the seal does not say that it extends the earlier one: give the export as well')
  }
  if (earlier) found.push(`they begin with the ${earlier.size} events that were sealed on ${earlier.time}`)
  if (named.proof !== undefined) {
    const {event, index, path} = readJson<Proof>(named.proof)
    const root = rootOfInclusion(leafOf(event, seal), index, seal.size, path)
    insist(root === seal.root, `the event in ${named.proof} is not what was sealed`)
    found.push(`event ${event.id} is number ${index} of them, from 0`)
  }
  return found
}

try {
  for (const line of await check()) process.stdout.write(`${line}\n`)
  process.stdout.write('yes\n')
} catch (error) {
  process.stdout.write(`${(error as Error).message}\nno\n`)
  process.exitCode = 1
}
