import {erasures} from './erasures.ts'
import {messages} from './messages.ts'
import {posts} from './posts.ts'
import type {ReadTable} from './readTable.ts'
import {roomInvitations} from './roomInvitations.ts'
import {roomMembers} from './roomMembers.ts'
import {rooms} from './rooms.ts'
import {users} from './users.ts'

/** Every read table there is. */
export const tables: readonly ReadTable[] = [users, posts, rooms, roomMembers, roomInvitations, messages, erasures]
