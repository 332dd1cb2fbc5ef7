import {z} from 'zod'
import type {JsonObject} from '../log/eventLog.ts'
import {canonicalJson} from './canonicalJson.ts'
import {type Hash, isConsistent} from './merkleTree.ts'
import {isSigned, type SigningKey} from './signingKey.ts'

const hex = z.string().regex(/^[0-9a-f]{64}$/)

/**
 * What an auditor takes away: root and size of the tree over the log's events in their order. The signature is over the
 * canonical JSON of all the other members. `extends`: that the tree begins with an earlier one.
 */
const Seal = z.strictObject({
  format: z.literal(1),
  identity: z.uuid(),
  size: z.int().positive(),
  root: hex,
  time: z.iso.datetime(),
  extends: z.strictObject({size: z.int().positive(), root: hex, path: z.array(hex).max(128)}).optional(),
  publicKey: z.base64(),
  signature: z.base64(),
})
export type Seal = z.infer<typeof Seal>

/** What is no seal, or one that does not hold, in one sentence for people. */
export class NotSealed extends Error {
  override name = 'NotSealed'
}

export const signSeal = (unsigned: Omit<Seal, 'signature' | 'publicKey' | 'format'>, key: SigningKey): Seal => {
  const whole = {format: 1 as const, ...unsigned, publicKey: key.publicKey}
  return {...whole, signature: key.sign(canonicalJson(whole as JsonObject))}
}

/** The seal in this text; checked for being whole, signed by the key that it names, and consistent with what it extends. */
export const readSeal = (text: string, name: string): Seal => {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new NotSealed(`${name} is no seal: it is not JSON, or was cut off.`)
  }
  const parsed = Seal.safeParse(json)
  if (!parsed.success) throw new NotSealed(`${name} is no seal: ${z.prettifyError(parsed.error).replace(/\s+/g, ' ')}`)
  const {signature, ...signed} = parsed.data
  if (!isSigned(canonicalJson(signed as JsonObject), signature, signed.publicKey))
    throw new NotSealed(`${name} was changed: its signature is not of what it says.`)
  const {extends: earlier} = parsed.data
  const isExtension = !earlier || isConsistent(treeOf(earlier), treeOf(parsed.data), earlier.path.map(bytesOf))
  if (!isExtension) throw new NotSealed(`${name} does not extend the earlier seal that it names.`)
  return parsed.data
}

export const bytesOf = (hash: string): Hash => Buffer.from(hash, 'hex')
export const treeOf = ({size, root}: {size: number; root: string}) => ({size, root: bytesOf(root)})
