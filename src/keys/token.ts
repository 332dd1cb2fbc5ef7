import {createHash, randomBytes} from 'node:crypto'
import type {UserId} from '../domain/user.ts'
import {base32} from './base32.ts'

/** A mailed token: `secret` goes into the link and nowhere else; only `hash` (SHA-256, hex) is stored. */
export type Token = {userId: UserId; secret: string; hash: string; expiresAt: string}

const hashOf = (secret: string): string => createHash('sha256').update(secret).digest('hex')

/** 256 random bits behind the id of the attempt, so that no table has to be asked whose token it is. */
export const tokenFor = (userId: UserId, expiresAt: Date): Token => {
  const secret = `${userId.slice(userId.indexOf('_') + 1)}.${base32(randomBytes(32))}`
  return {userId, secret, hash: hashOf(secret), expiresAt: expiresAt.toISOString()}
}

/** Whose token it would be, and its hash; null for what was never a token. */
export const parseToken = (secret: string): {userId: UserId; hash: string} | null =>
  /^[a-z2-7]{26}\.[a-z2-7]{52}$/.test(secret)
    ? {userId: `email_${secret.slice(0, 26)}` as UserId, hash: hashOf(secret)}
    : null
