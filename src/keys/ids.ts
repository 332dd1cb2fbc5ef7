import {randomBytes} from 'node:crypto'
import type {MessageId} from '../domain/chat.ts'
import type {PostId} from '../domain/post.ts'
import type {RoomId} from '../domain/room.ts'
import type {Provider, UserId} from '../domain/user.ts'
import {base32} from './base32.ts'
import {drawsOf} from './draws.ts'

const draw = drawsOf(16)

/** 128 random bits: nobody can guess one, and two are never the same. */
const random = (): string => base32(draw())

export const newUserId = (provider: Provider): UserId => `${provider}_${random()}` as UserId
/** For whoever gave no name, or none that we can take: it says nothing about the person. */
export const newUsername = (): string => `member-${base32(randomBytes(4)).slice(0, 5)}`

export const newPostId = (): PostId => `u-${random()}` as PostId
export const newRoomId = (): RoomId => `r-${random()}` as RoomId
export const newMessageId = (): MessageId => `m-${random()}` as MessageId
