import {appends} from './figures/appends.ts'
import {eventStore} from './figures/eventStore.ts'
import {growth} from './figures/growth.ts'
import {logins} from './figures/logins.ts'
import {memory} from './figures/memory.ts'
import {postCreation, postListsWritten} from './figures/postCreation.ts'
import {postLists} from './figures/postLists.ts'
import {postPages} from './figures/postPages.ts'
import {rebuild} from './figures/rebuild.ts'
import {rooms} from './figures/rooms.ts'
import {delivery, manyRooms, roomOf50, roomOf200} from './figures/sockets.ts'
import {starts} from './figures/starts.ts'
import {verify} from './figures/verify.ts'
import type {Figure} from './harness.ts'

/** Every figure, in the order in which they are measured and shown. */
export const figures: readonly Figure[] = [
  postLists,
  postListsWritten,
  postPages,
  rooms,
  postCreation,
  roomOf50,
  roomOf200,
  delivery,
  manyRooms,
  appends,
  eventStore,
  rebuild,
  logins,
  memory,
  starts,
  verify,
  growth,
]
