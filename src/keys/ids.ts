import {randomBytes, randomFillSync} from 'node:crypto'
import type {MessageId} from '../domain/chat.ts'
import type {PostId} from '../domain/post.ts'
import type {RoomId} from '../domain/room.ts'
import type {Provider, UserId} from '../domain/user.ts'
import {base32} from './base32.ts'

const ID_BYTES = 16
/** Drawn for many ids at once: each call of the system's generator costs more than what it gives. */
const drawn = Buffer.alloc(256 * ID_BYTES)
let used = drawn.length

/** 128 random bits: nobody can guess one, and two are never the same. */
const random = (): string => {
  if (used === drawn.length) {
    randomFillSync(drawn)
    used = 0
  }
  used += ID_BYTES
  return base32(drawn.subarray(used - ID_BYTES, used))
}

export const newUserId = (provider: Provider): UserId => `${provider}_${random()}` as UserId
/** For whoever gave no name, or none that we can take: it says nothing about the person. */
export const newUsername = (): string => `member-${base32(randomBytes(4)).slice(0, 5)}`

export const newPostId = (): PostId => `u-${random()}` as PostId
export const newRoomId = (): RoomId => `r-${random()}` as RoomId
export const newMessageId = (): MessageId => `m-${random()}` as MessageId
