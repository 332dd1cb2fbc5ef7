import sodium from 'sodium-native'
import {drawsOf} from './draws.ts'

const NONCE = sodium.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
const TAG = sodium.crypto_aead_xchacha20poly1305_ietf_ABYTES
const drawNonce = drawsOf(NONCE)

/**
 * XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): random nonce (24 bytes), ciphertext, tag (16 bytes). The nonce is long
 * enough to be drawn at random for ever. `bound` is authenticated and must be the same when it is opened.
 */
export const seal = (key: Buffer, plain: Buffer, bound: string): Buffer => {
  const sealed = Buffer.allocUnsafe(NONCE + plain.length + TAG)
  const nonce = sealed.subarray(0, NONCE)
  drawNonce().copy(nonce)
  sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(sealed.subarray(NONCE), plain, Buffer.from(bound), null, nonce, key)
  return sealed
}

/** What was sealed, or null where the key, the bytes or what they are bound to are not the same. */
export const unseal = (key: Buffer, sealed: Buffer, bound: string): Buffer | null => {
  if (sealed.length < NONCE + TAG) return null
  const plain = Buffer.allocUnsafe(sealed.length - NONCE - TAG)
  const nonce = sealed.subarray(0, NONCE)
  try {
    sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
      plain,
      null,
      sealed.subarray(NONCE),
      Buffer.from(bound),
      nonce,
      key,
    )
    return plain
  } catch {
    return null
  }
}

/** More is opened in buffers of its own. */
const MOST_BYTES = 16_384
const sealedBytes = Buffer.alloc(MOST_BYTES)
const nonceBytes = sealedBytes.subarray(0, NONCE)
const plainBytes = Buffer.alloc(MOST_BYTES)
const boundBytes = Buffer.alloc(MOST_BYTES)

/**
 * The same of text that was sealed, in base64. Who follows or rebuilds opens every event there is, and buffers for each step
 * would cost nearly as much as the opening.
 */
export const unsealText = (key: Buffer, sealed: string, bound: string): string | null => {
  if (sealed.length > MOST_BYTES || bound.length * 3 > MOST_BYTES) {
    return unseal(key, Buffer.from(sealed, 'base64'), bound)?.toString('utf8') ?? null
  }
  const size = sealedBytes.write(sealed, 'base64') - NONCE - TAG
  if (size < 0) return null
  const boundSize = boundBytes.write(bound)
  try {
    sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
      bytesOf(plainBytes, 0, size),
      null,
      bytesOf(sealedBytes, NONCE, size + TAG),
      bytesOf(boundBytes, 0, boundSize),
      nonceBytes,
      key,
    )
    return plainBytes.toString('utf8', 0, size)
  } catch {
    return null
  }
}

/** As `subarray` gives it, at a tenth of the cost. */
const bytesOf = ({buffer, byteOffset}: Buffer, from: number, size: number): Uint8Array =>
  new Uint8Array(buffer, byteOffset + from, size)
