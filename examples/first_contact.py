"""First contact: an unmodified model and loaders with augmentation; which optimizer, and at which rate?"""

from their_code import net, train_loader, valid_loader

import thalweg as tw

print(tw.compare(net, train_loader, valid_loader, budget="2m"))
