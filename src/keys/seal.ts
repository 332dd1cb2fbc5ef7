import sodium from 'sodium-native'

const NONCE = sodium.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
const TAG = sodium.crypto_aead_xchacha20poly1305_ietf_ABYTES
/** Nonces that are drawn at once: to ask the kernel for each cost as much as the sealing. */
const DRAWN = 256

const drawn = Buffer.allocUnsafe(NONCE * DRAWN)
let used = DRAWN
const drawNonce = (into: Buffer): void => {
  if (used === DRAWN) {
    sodium.randombytes_buf(drawn)
    used = 0
  }
  drawn.copy(into, 0, NONCE * used, NONCE * ++used)
}

/**
 * XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): random nonce (24 bytes), ciphertext, tag (16 bytes). The nonce is long
 * enough to be drawn at random for ever. `bound` is authenticated and must be the same when it is opened.
 */
export const seal = (key: Buffer, plain: Buffer, bound: string): Buffer => {
  const sealed = Buffer.allocUnsafe(NONCE + plain.length + TAG)
  const nonce = sealed.subarray(0, NONCE)
  drawNonce(nonce)
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
