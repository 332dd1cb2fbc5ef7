import {createPrivateKey, createPublicKey, sign, verify} from 'node:crypto'

/** How PKCS #8 begins for an Ed25519 key of 32 bytes (RFC 8410, section 7). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')

/** `publicKey`: base64 of its SubjectPublicKeyInfo, which every tool reads: between PEM's two lines it is a PEM file. */
export type SigningKey = {publicKey: string; sign(text: string): string}

/** Ed25519 (RFC 8032). `secret`: 32 random bytes. */
export const signingKeyOf = (secret: Buffer): SigningKey => {
  const key = createPrivateKey({key: Buffer.concat([PKCS8, secret]), format: 'der', type: 'pkcs8'})
  return {
    publicKey: createPublicKey(key).export({format: 'der', type: 'spki'}).toString('base64'),
    sign: (text) => sign(null, Buffer.from(text), key).toString('base64'),
  }
}

export const isSigned = (text: string, signature: string, publicKey: string): boolean => {
  try {
    const key = createPublicKey({key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki'})
    return key.asymmetricKeyType === 'ed25519' && verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64'))
  } catch {
    return false
  }
}
